"""The API for programs, under /api/v1: described by OpenAPI, and in docs/api.md."""
