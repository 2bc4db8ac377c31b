"""Cases and results as files: NIfTI, MetaImage, NRRD, DICOM, report.json."""
