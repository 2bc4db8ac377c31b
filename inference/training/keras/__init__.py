"""Import of weights that Keras wrote."""
