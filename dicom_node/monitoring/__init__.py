"""The node's statements about itself."""
