"""Files from outside to a checked volume; nobody else parses them."""
