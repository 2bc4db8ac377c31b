"""Model bundles and the networks in them."""
