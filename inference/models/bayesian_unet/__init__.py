"""The Bayesian U-Net with Monte Carlo dropout."""
