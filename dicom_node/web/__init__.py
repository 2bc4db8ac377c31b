"""What people and programs see of the node over HTTP: pages, and an API."""
