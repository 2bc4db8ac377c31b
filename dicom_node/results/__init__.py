"""The objects that answer a series: segmentation, report, picture and key object."""
