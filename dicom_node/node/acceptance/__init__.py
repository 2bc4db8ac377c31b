"""Site acceptance: a phantom through the site's own configuration, and what became of it."""
