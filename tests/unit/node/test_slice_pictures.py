"""Pictures of slices: made of what the node keeps, and in words where nothing is kept."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cases import CONTEXT, RECORD, small_case, source_datasets
from support.ct import AXIAL, SERIES_UID, ct_stack
from support.spooled import keep, purge

from dicom_node.node.slice_pictures import NoPicturesError, SlicePictures
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import ResultRow
from dicom_node.results.builders import publish_case
from dicom_node.results.result_files import write_results
from dicom_node.series.reading import read_series
from dicom_node.spool.revisions import Revision, write_marker
from dicom_node.spool.spool import Spool
from inference.structures import BY_KEY

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool with a series that was handed over."""
    spool = Spool(tmp_path / "spool")
    keep(spool, source_datasets())
    files = tuple(entry.path.name for entry in spool.entries(SERIES_UID))
    write_marker(spool.folder / SERIES_UID, [Revision(1, files, "quiet", done=True)])
    return spool


@pytest.fixture
def ledger(tmp_path: Path, spool: Spool) -> Ledger:
    """A ledger that knows the series' segmentation."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'db'}")
    series = read_series([entry.path for entry in spool.entries(SERIES_UID)])
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD)
    paths = write_results(objects, tmp_path / "results")
    for one, path in zip(objects, paths, strict=True):
        ledger.save(
            ResultRow(
                one.sop_instance_uid,
                one.sop_class_uid,
                one.kind.value,
                one.series_instance_uid,
                SERIES_UID,
                1,
                str(path),
                "0" * 64,
                AT,
            )
        )
    return ledger


def test_a_picture_has_the_colours_of_what_was_found(spool: Spool, ledger: Ledger):
    """The slice in the middle of what was found shows the femur's colour, outlined in full."""
    pictures = SlicePictures(spool.folder)
    series = pictures.series(ledger, SERIES_UID, 1)
    png = pictures.png(series, series.middle, overlay=True)
    plain = pictures.png(series, series.middle, overlay=False)

    shown = np.asarray(Image.open(io.BytesIO(png)))
    grey = np.asarray(Image.open(io.BytesIO(plain)))
    colour = BY_KEY["FEMUR_R"].structure.colour_rgb

    assert shown.shape == (series.height_px, 640, 3)
    assert (np.abs(shown.astype(int) - colour).max(axis=-1) <= 1).any()
    assert (grey[..., 0] == grey[..., 1]).all()
    assert BY_KEY["FEMUR_R"] in series.shown


@pytest.mark.parametrize(
    "orientation",
    [AXIAL, (-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0)],
    ids=["supine", "turned about", "rows upward", "columns to the right"],
)
def test_the_patients_right_is_on_the_left_however_a_slice_is_stored(
    orientation: tuple[int, ...], tmp_path: Path
):
    """The field of these slices grows to the patient's left and to the back."""
    spool = Spool(tmp_path / "spool")
    keep(spool, ct_stack(orientation=orientation, shape=(60, 60), spacing_mm=(1.0, 1.0)))
    files = tuple(entry.path.name for entry in spool.entries(SERIES_UID))
    write_marker(spool.folder / SERIES_UID, [Revision(1, files, "quiet", done=True)])
    pictures = SlicePictures(spool.folder)

    series = pictures.series(Ledger(f"sqlite:///{tmp_path / 'db'}"), SERIES_UID, 1)
    png = pictures.png(series, 1, overlay=False)
    grey = np.asarray(Image.open(io.BytesIO(png)))[..., 0].astype(float)

    assert grey[:, :320].mean() < grey[:, 320:].mean()
    assert grey[: len(grey) // 2].mean() < grey[len(grey) // 2 :].mean()


def test_the_same_picture_is_made_once(spool: Spool, ledger: Ledger):
    pictures = SlicePictures(spool.folder)
    series = pictures.series(ledger, SERIES_UID, 1)

    assert pictures.series(ledger, SERIES_UID, 1) is series
    first = pictures.png(series, 1, overlay=True)
    assert pictures.png(series, 1, overlay=True) is first


@pytest.mark.parametrize("number", [0, 13, 10**9])
def test_a_slice_that_is_not_there_is_named_as_such(spool: Spool, ledger: Ledger, number: int):
    pictures = SlicePictures(spool.folder)
    series = pictures.series(ledger, SERIES_UID, 1)

    with pytest.raises(NoPicturesError, match="slices 1 to 12"):
        pictures.png(series, number, overlay=True)


def test_purged_images_are_said_to_be(spool: Spool, ledger: Ledger):
    purge(spool, SERIES_UID)

    with pytest.raises(NoPicturesError, match="purged"):
        SlicePictures(spool.folder).series(ledger, SERIES_UID, 1)


def test_a_purged_segmentation_leaves_the_images(spool: Spool, ledger: Ledger):
    for each in ledger.results(SERIES_UID, 1):
        Path(each.path).unlink()

    series = SlicePictures(spool.folder).series(ledger, SERIES_UID, 1)

    assert "purged" in series.without
    assert series.shown == ()


def test_a_series_that_never_came_has_no_pictures(spool: Spool, ledger: Ledger):
    with pytest.raises(NoPicturesError, match="not kept"):
        SlicePictures(spool.folder).series(ledger, "1.2.3", 1)
