"""Cases and results as files: NIfTI, MetaImage, DICOM, report.json."""
