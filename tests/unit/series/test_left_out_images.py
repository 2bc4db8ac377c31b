"""What is left out of a series: localisers, derived images, files that are no images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ct import (
    ct_slice,
    ct_stack,
    save,
)
from support.read_series import read

from dicom_node.errors import (
    NoImagesError,
)
from dicom_node.series.reading import read_series


def test_localisers_derived_images_and_other_files_are_left_out(tmp_path: Path) -> None:
    localiser = ct_slice(
        orientation=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    bare = ct_slice(ImageType=["DERIVED", "SECONDARY", "MPR"], ImagePositionPatient=None)
    paths = save([localiser, *ct_stack(), bare], tmp_path)
    readme = tmp_path / "README"
    readme.write_text("not DICOM")

    series = read_series([*paths, readme])

    assert len(series.slices) == 5
    assert sorted(out.reason.split(" ")[0] for out in series.left_out) == [
        "a",
        "derived",
        "localizer",
    ]


def test_a_series_of_nothing_else_is_refused_with_the_tally(tmp_path: Path) -> None:
    derived = ct_stack(ImageType=["DERIVED", "SECONDARY", "MPR"])

    with pytest.raises(NoImagesError, match="5 x derived image"):
        read(derived, tmp_path)
