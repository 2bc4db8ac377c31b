"""The dashboard's pages: a file a subject, each a thin layer over what the node knows."""
