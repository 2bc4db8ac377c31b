"""Calls to other application entities and DICOMweb services."""
