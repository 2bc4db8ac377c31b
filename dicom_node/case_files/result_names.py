"""The files of a folder of results, by name. What they hold: `result_folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicom_node.case_files.source_json import SOURCE_FILE
from dicom_node.durable_files import PART, sync_folder
from dicom_node.results.kinds import ResultKind

LABELS_FILE: Final = "labels.nii.gz"
LABEL_NAMES_FILE: Final = "labels.json"
UNCERTAINTY_FILE: Final = "uncertainty.nii.gz"
REPORT_FILE: Final = "report.json"
PICTURE_FILE: Final = "qc.png"
DENSITY_FILE: Final = "density.png"
OBJECT_FILES: Final = {ResultKind.SEG: "SEG.dcm", ResultKind.SR: "SR.dcm"}
MARKER_FILE: Final = "made_of.json"
"""Of a case of a batch: that it is done, and what it was made of (`batch.markers`)."""

ALL_FILES: Final = (
    REPORT_FILE,
    LABELS_FILE,
    LABEL_NAMES_FILE,
    UNCERTAINTY_FILE,
    SOURCE_FILE,
    PICTURE_FILE,
    DENSITY_FILE,
    *OBJECT_FILES.values(),
)


def clear_results(out: Path) -> None:
    """Remove the results of an earlier run, so that none of them can be taken for new.

    Whenever that ends half-way, what is left claims no more than it is: the marker of a batch
    goes first, for good, and the report before the files that it is about.
    """
    marker = out / MARKER_FILE
    if marker.exists():
        marker.unlink()
        sync_folder(out)
    for name in ALL_FILES:
        for path in (out / name, *out.glob(f"{PART}*-{name}")):
            path.unlink(missing_ok=True)
