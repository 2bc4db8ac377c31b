"""The segmentation in its forms."""
