"""A report as FHIR resources, by HL7's mapping of DICOM SR (STU1, FHIR R5)."""
