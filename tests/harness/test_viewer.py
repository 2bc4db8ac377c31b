"""What a reader sees: every object in OHIF, and what stands on its screen against the truth.

The case is a phantom with all 43 segments. Points deep inside each of them, and outside all,
are looked at in the rendered slices before and after a segmentation is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import ohif
from support.conformance import BY_RENDERING, Check, Findings
from support.namespace import Namespace
from support.ohif import ListedSeries, Viewer
from support.orthanc import Orthanc
from support.probes import Probe, probes
from support.published import Published, address_of, publish
from support.stopping import stop
from support.truth import VIEWED_PHANTOM
from support.validators import GENERAL_TITLE

from dicom_node.results.kinds import GROUP_OF, REPORTS, ResultKind, kinds_for
from dicom_node.settings.profile import Profile
from dicom_node.uids import tracking_uid
from inference.pictures.outlines import key_slice_outlines
from inference.results import StructureResult
from inference.structures import BY_KEY, SEGMENTS, Group, Side
from sr_templates.terms import VERDICT_TERMS

BODY_HU = -300
SAME_COLOUR = 3.0
"""Out of 255: less than any two of the segments' colours differ by, half transparent."""

SAME_PICTURE = 12.0
"""Out of 255, on average over a picture reduced to 96 x 96."""

OPENING_MS = 5000
"""What is not there after so long does not come."""

READ_ALOUD = ("PELVIS_R", "PELVIS_L", "GMAX_R", "RF_L", "VM_R", "ILI_L")

UNDERIVED_SERIES = "2.25.7101"
"""Of a segmentation whose frames do not say which image they were derived from, and whose
frame of reference is none of the CT's; OHIF would look there for images in the same place."""

GENERAL_SERIES = "2.25.7201"
"""Of the record under the general title of its template, as it was sent before."""

BARE_SERIES = "2.25.7301"
"""Of the record without a measurement, as where no structure was found."""

BY_DEFAULT = kinds_for(Profile(), accepted=False, replaces=False)


@pytest.fixture(scope="module")
def viewer(
    namespace: Namespace, running_orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Viewer]:
    """OHIF over the Orthanc of the run; a skip, in CI a failure, where it is not there."""
    if missing := ohif.missing():
        stop(f"not installed: {', '.join(missing)} (make harness-packages)")
    with ExitStack() as stack:
        with namespace.inside():
            viewer = stack.enter_context(ohif.viewer(tmp_path_factory.mktemp("browser")))
        yield viewer


@pytest.fixture(scope="module")
def published(
    namespace: Namespace, running_orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """One study in Orthanc: the phantom, all objects, and a segmentation that is not ours."""
    folder = tmp_path_factory.mktemp("viewed")
    published = publish(folder, VIEWED_PHANTOM)
    record = published.files[ResultKind.SR]
    others = [
        _without_derivation(published.files[ResultKind.SEG], folder / "underived.dcm"),
        _under_the_general_title(record, folder / "general.dcm"),
        _without_measurements(record, folder / "bare.dcm"),
    ]
    with namespace.inside():
        running_orthanc.upload([*published.known.paths, *published.files.values(), *others])
    yield published
    with namespace.inside():
        running_orthanc.empty()


def _without_derivation(segmentation: Path, path: Path) -> Path:
    dataset = pydicom.dcmread(segmentation)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    dataset.FrameOfReferenceUID = "2.25.7103"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.7102"
    dataset.SeriesInstanceUID = UNDERIVED_SERIES
    dataset.save_as(path)
    return path


def _under_the_general_title(record: Path, path: Path) -> Path:
    dataset = pydicom.dcmread(record)
    (title,) = dataset.ConceptNameCodeSequence
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = GENERAL_TITLE
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.7202"
    dataset.SeriesInstanceUID = GENERAL_SERIES
    dataset.save_as(path)
    return path


def _without_measurements(record: Path, path: Path) -> Path:
    dataset = pydicom.dcmread(record)
    dataset.ContentSequence = [
        item
        for item in dataset.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning != "Imaging Measurements"
    ]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.7302"
    dataset.SeriesInstanceUID = BARE_SERIES
    dataset.save_as(path)
    return path


class Reader:
    """A person before the screen with the truth at hand."""

    def __init__(self, viewer: Viewer, published: Published) -> None:
        self.viewer, self.known = viewer, published.known
        self.series_of = {
            kind: address_of(path).series for kind, path in published.files.items()
        }
        self.files = published.files
        volume = self.known.series.volume
        self.probes = probes(self.known.case.segments, volume.hu > BODY_HU)

    def open_study(self) -> None:
        """The study afresh, its CT on show."""
        study = str(self.known.series.header.StudyInstanceUID)
        self.viewer.open(study, len(self.series_of) + 4)  # the CT, and what is not ours

    def listed(self, series: ResultKind | str) -> ListedSeries:
        """What the viewer's list has of an object, or of a series by its UID."""
        uid = self.series_of[series] if isinstance(series, ResultKind) else series
        (found,) = (one for one in self.viewer.series() if one.series_instance_uid == uid)
        return found

    def colours(self) -> dict[Probe, NDArray[np.float64]]:
        """What is on the screen at every probe, the mean of 3 x 3 of its pixels."""
        geometry = self.known.case.geometry
        seen = {}
        for index in dict.fromkeys(probe.slice_index for probe in self.probes):
            here = [probe for probe in self.probes if probe.slice_index == index]
            self.show_slice(index)
            picture = self.viewer.picture()
            voxels = [[one.slice_index, one.row, one.column] for one in here]
            places = self.viewer.where(geometry.to_patient_mm(np.array(voxels, float)))
            for probe, (x, y) in zip(here, places, strict=True):
                pixels = picture[y - 1 : y + 2, x - 1 : x + 2]
                seen[probe] = pixels.reshape(-1, 3).mean(axis=0)
        return seen

    def outcome(self, series: ListedSeries, kind: ResultKind) -> tuple[str, list[str]]:
        """What becomes of a series that is opened: shown or not, and what the viewer says."""
        if series.handler == "unsupported":
            return "not shown", ["OHIF lists key objects and cannot open them"]
        before = self.viewer.picture()
        self.viewer.open_series(series)
        self.viewer.page.wait_for_timeout(OPENING_MS)
        if kind is ResultKind.PDF:
            shown = self.viewer.page.locator('object[type="application/pdf"]').count() == 1
            return ("shown" if shown else "not shown"), []
        if self.viewer.errors():
            return "not shown", [
                "OHIF ends with an error: its page says that something went wrong"
            ]
        if kind in REPORTS:
            structures = self.known.case.structures
            right = len(structures) - len(self.misread())
            return f"shown as text, {right} of {len(structures)} structures as in the case", []
        if kind.traits.modality == "OT":
            return ("shown" if self._shows_picture(kind) else "not shown"), []
        after = self.viewer.picture()
        changed = before.shape != after.shape or bool((before != after).any())
        return ("shown over the CT" if changed else "not shown"), []

    def misread(self) -> list[str]:
        """Every structure whose volume, HU or verdict does not stand in the text on show."""
        groups = {
            lines[0]: lines
            for group in self.viewer.text().split("Tracking Identifier: ")[1:]
            for lines in [group.splitlines()]
        }
        return [
            result.segment.title
            for result in self.known.case.structures
            if not set(_lines(result)) <= set(groups.get(result.segment.title, ()))
        ]

    def sees_something(self) -> bool:
        """Whether the viewport has text, or a picture that is not all of one colour."""
        if self.viewer.page.locator("canvas").count() == 0:
            return bool(self.viewer.text().strip())
        return float(self.viewer.picture().std()) > 1.0

    def _shows_picture(self, kind: ResultKind) -> bool:
        """Whether the screen has the pixels of a colour picture, as large as fits."""
        pixels = pydicom.dcmread(self.files[kind]).pixel_array
        picture = Image.fromarray(pixels if pixels.ndim == 3 else pixels[0])
        screen = Image.fromarray(self.viewer.picture())
        scale = min(screen.width / picture.width, screen.height / picture.height)
        size = round(picture.width * scale), round(picture.height * scale)
        corner = (screen.width - size[0]) // 2, (screen.height - size[1]) // 2
        seen = screen.crop((*corner, corner[0] + size[0], corner[1] + size[1]))
        small = [np.asarray(one.resize((96, 96)), float) for one in (seen, picture)]
        return float(np.abs(small[0] - small[1]).mean()) < SAME_PICTURE

    def show_slice(self, index: int) -> None:
        """Scroll to a slice of the volume."""
        self.viewer.show_image(self.known.series.slices[index].sop_instance_uid)


def _lines(result: StructureResult) -> list[str]:
    """Lines of the record on a structure that was measured, as OHIF writes them."""
    measured = result.measured
    assert measured.volume_cm3 is not None
    assert measured.mean_hu is not None
    return [
        f"Volume: {round(measured.volume_cm3, 2):g} cm3",
        f"Attenuation Coefficient: {round(measured.mean_hu, 2):g} [hnsf'U]",
        f"Quality verdict: {VERDICT_TERMS[result.verdict].code.meaning}",
    ]


@pytest.fixture(scope="module")
def reader(viewer: Viewer, published: Published) -> Reader:
    """The viewer with the study."""
    return Reader(viewer, published)


@pytest.fixture(scope="module")
def plain(namespace: Namespace, reader: Reader) -> dict[Probe, NDArray[np.float64]]:
    """The CT at every probe, before anything is drawn on it."""
    with namespace.inside():
        reader.open_study()
        return reader.colours()


def wrong_colours(
    plain: dict[Probe, NDArray[np.float64]],
    seen: dict[Probe, NDArray[np.float64]],
    opacity: Mapping[Group, float],
) -> list[str]:
    """Every probe that does not show the CT under its segment's colour, or bare outside."""
    wrong = []
    for probe, grey in plain.items():
        expected = grey
        if probe.segment is not None:
            structure = probe.segment.structure
            share = opacity[structure.group]
            expected = (1 - share) * grey + share * np.array(structure.colour_rgb)
        if np.abs(seen[probe] - expected).max() > SAME_COLOUR:
            wrong.append(f"{probe.name}: {seen[probe].round()} is not {expected.round()}")
    return wrong


def in_all_groups(opacity: float) -> dict[Group, float]:
    """Of a segmentation that holds everything."""
    return dict.fromkeys(Group, opacity)


def test_all_43_segments_are_drawn_in_their_place_and_colour(
    reader: Reader,
    plain: dict[Probe, NDArray[np.float64]],
    findings: Findings,
    out: Path,
) -> None:
    """Right and left, inside and outside."""
    reader.open_study()
    series = reader.listed(ResultKind.SEG)

    drawn = reader.viewer.load_segmentation(series)
    wrong = wrong_colours(plain, reader.colours(), in_all_groups(reader.viewer.opacity(series)))

    reader.viewer.save(out / "ohif_binary.png")
    findings.record(BY_RENDERING[ResultKind.SEG], Check.OHIF, _drawn(wrong))
    assert {one.label for one in drawn} == {segment.title for segment in SEGMENTS}
    assert {probe.segment for probe in plain} == {None, *SEGMENTS}
    assert wrong == []


def test_without_a_derivation_image_nothing_is_drawn_and_the_same_check_says_so(
    reader: Reader, plain: dict[Probe, NDArray[np.float64]], out: Path
) -> None:
    """The check above can fail: the viewer lists all 43 segments and draws none of them."""
    reader.open_study()
    series = reader.listed(UNDERIVED_SERIES)

    drawn = reader.viewer.load_segmentation(series)
    wrong = wrong_colours(plain, reader.colours(), in_all_groups(reader.viewer.opacity(series)))

    reader.viewer.save(out / "ohif_underived.png")
    assert len(drawn) == len(SEGMENTS)
    assert len(wrong) == len(SEGMENTS)


@pytest.mark.parametrize("side", Side)
def test_the_right_of_the_patient_is_on_the_left_of_the_screen(
    reader: Reader, side: Side, out: Path
) -> None:
    """Only the segments that the viewer calls right (left) are left visible."""
    reader.open_study()
    series = reader.listed(ResultKind.SEG)
    word = {Side.RIGHT: ", right", Side.LEFT: ", left"}[side]

    index = reader.probes[0].slice_index
    reader.show_slice(index)
    bare = reader.viewer.picture().astype(int)
    drawn = reader.viewer.load_segmentation(series)
    reader.viewer.show_only(series, [one.index for one in drawn if one.label.endswith(word)])
    reader.show_slice(index)
    coloured = np.abs(reader.viewer.picture() - bare).max(axis=2) > 20

    reader.viewer.save(out / f"ohif_only_{side.value}.png")
    rows, columns = coloured.shape  # the viewer's own words and handles stand at the border
    inside = coloured[rows // 8 : -rows // 8, columns // 16 : -columns // 16]
    where = np.flatnonzero(inside.any(axis=0))
    middle = inside.shape[1] / 2
    assert len(where) > columns // 8
    assert (where < middle).all() if side is Side.RIGHT else (where > middle).all()


def test_the_groups_together_show_what_the_one_segmentation_shows(
    reader: Reader,
    plain: dict[Probe, NDArray[np.float64]],
    findings: Findings,
    out: Path,
) -> None:
    reader.open_study()
    groups = BY_RENDERING[ResultKind.SEG_BONES]

    loaded = [reader.viewer.load_segmentation(reader.listed(kind)) for kind in groups.kinds]
    opacity = {GROUP_OF[one]: reader.viewer.opacity(reader.listed(one)) for one in groups.kinds}
    wrong = wrong_colours(plain, reader.colours(), opacity)

    reader.viewer.save(out / "ohif_groups.png")
    findings.record(groups, Check.OHIF, _drawn(wrong))
    assert [len(drawn) for drawn in loaded] == [5, 18, 20]
    assert wrong == []


def test_what_becomes_of_the_label_map_is_written_down(
    reader: Reader,
    plain: dict[Probe, NDArray[np.float64]],
    findings: Findings,
    out: Path,
) -> None:
    """OHIF is not asked to show it right: whoever has OHIF is sent the BINARY form."""
    reader.open_study()

    series = reader.listed(ResultKind.SEG_LABELMAP)
    drawn = reader.viewer.load_segmentation(series)
    wrong = wrong_colours(plain, reader.colours(), in_all_groups(reader.viewer.opacity(series)))

    reader.viewer.save(out / "ohif_labelmap.png")
    findings.record(BY_RENDERING[ResultKind.SEG_LABELMAP], Check.OHIF, _drawn(wrong))
    assert len(drawn) >= len(SEGMENTS)


def _drawn(wrong: list[str]) -> str:
    right = len(SEGMENTS) - len(wrong)
    return f"{right} of {len(SEGMENTS)} segments drawn in their place and colour"


def test_the_key_slices_show_the_numbers_of_their_structures(
    reader: Reader, findings: Findings, out: Path
) -> None:
    """Volume and HU as they stand beside the outline, and on which side the outline lies."""
    reader.open_study()
    reader.viewer.open_series(reader.listed(ResultKind.SR_KEY_SLICE))
    case, series = reader.known.case, reader.known.series
    slices = key_slice_outlines(case.segments)

    wrong = []
    for key in READ_ALOUD:
        structure = case.of(BY_KEY[key]).measured
        uid = tracking_uid(str(series.header.SeriesInstanceUID), key)
        show = partial(reader.show_slice, slices[structure.segment.number].slice_index)
        shown = reader.viewer.annotation(uid, show)
        lines = [f"{structure.volume_cm3:.2f} cm3", f"{structure.mean_hu:.2f} [hnsf'U]"]
        if [line.rpartition(": ")[2] for line in shown.lines[:2]] != lines:
            wrong.append(f"{key}: {shown.lines}, not {lines}")
        if (shown.middle_mm[0] < 0) is not (structure.segment.side is Side.RIGHT):
            wrong.append(f"{key}: its outline is around {shown.middle_mm}")

    reader.viewer.save(out / "ohif_key_slices.png")
    text = f"outlines with volume and HU: {len(READ_ALOUD) - len(wrong)} of {len(READ_ALOUD)}"
    findings.record(BY_RENDERING[ResultKind.SR_KEY_SLICE], Check.OHIF, f"{text} as in the case")
    assert wrong == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ResultKind.SR, "shown as text, 43 of 43"),
        (ResultKind.SR_GROUPS, "shown as text, 43 of 43"),
        (ResultKind.SR_LABELMAP, "shown as text, 43 of 43"),
        (ResultKind.SC, "shown"),
        (ResultKind.SC_DENSITY, "shown"),
        (ResultKind.SC_DENSITY_SLICES, "shown"),
        (ResultKind.PM, None),
        (ResultKind.PDF, "shown"),
        (ResultKind.KO, "not shown"),
        (ResultKind.KO_REJECTED, "not shown"),
    ],
)
def test_what_else_the_viewer_shows(
    reader: Reader, kind: ResultKind, expected: str | None, findings: Findings, out: Path
) -> None:
    """Pictures (of a series its first), the PDF and the records; what becomes of others."""
    reader.open_study()
    series = reader.listed(kind)

    text, notes = reader.outcome(series, kind)

    reader.viewer.save(out / f"ohif_{kind.value.lower()}.png")
    findings.record(BY_RENDERING[kind], Check.OHIF, text, notes)
    assert expected is None or text.startswith(expected)
    assert reader.viewer.errors() == []


def test_nothing_that_goes_out_by_default_ends_in_an_error_page(
    reader: Reader, out: Path
) -> None:
    """One after the other is clicked, and shown, or what was there stays.

    So are the key slices, and a report without a measurement.
    """
    reader.open_study()

    for one in (*BY_DEFAULT, ResultKind.SR_KEY_SLICE, BARE_SERIES):
        reader.viewer.open_series(reader.listed(one))
        reader.viewer.page.wait_for_timeout(OPENING_MS)

        reader.viewer.save(out / f"ohif_clicked_{one.lower()}.png")
        assert reader.viewer.errors() == [], one
        assert reader.sees_something(), one


def test_under_the_general_title_the_record_would_end_in_one(reader: Reader, out: Path) -> None:
    """The check above can fail. Once this test does, OHIF takes groups that have segments."""
    reader.open_study()

    reader.viewer.open_series(reader.listed(GENERAL_SERIES))
    reader.viewer.page.wait_for_timeout(OPENING_MS)

    reader.viewer.save(out / "ohif_general_title.png")
    assert "reading 'ReferencedSOPSequence'" in " ".join(reader.viewer.errors())
    assert not reader.sees_something()
