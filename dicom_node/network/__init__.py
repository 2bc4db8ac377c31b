"""Below the DICOM services, in both directions: sockets, TLS, limits."""
