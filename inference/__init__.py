"""The science: volumes in, labels, measurements and verdicts out. Knows no DICOM."""
