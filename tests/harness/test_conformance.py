"""Every object before every program of another maker; what each says goes into the table.

The case is small, for PixelMed takes a minute for every ten structures.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support.conformance import (
    BY_RENDERING,
    DOCUMENTS,
    READ_BY_DCMQI,
    ROWS,
    Check,
    Findings,
    Row,
)
from support.dcmqi_readers import PROGRAMS, read_segments, read_volumes_cm3
from support.dcmqrscp import AE_TITLE, PORT, Dcmqrscp, start_dcmqrscp
from support.namespace import Namespace, open_listeners
from support.orthanc import DICOM_PORT, PACS_AE, Orthanc
from support.pacs import dataset_bytes
from support.published import Published, address_of, publish
from support.stacks import (
    STACK_ROWS,
    Reader,
    Stack,
    Stacked,
    StackRow,
    by_dcmqi,
    by_highdicom,
    stacked,
)
from support.truth import VIEWED_PHANTOM
from support.validators import (
    Said,
    dciodvfy,
    dsrdump,
    has_own_title,
    pixelmed,
    pixelmed_as_sent,
)

from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.results.kinds import ResultKind
from inference.structures import BY_KEY

KEYS = ("FEMUR_R", "FEMUR_L", "SACRUM", "GMAX_R", "GMAX_L", "RF_R", "RF_L")
"""Bones, hip muscles and thigh muscles, on both sides."""

NO_SEGMENTATION = (
    "ReferencedSegmentNumber(0062,000b): Shall not be present for Referenced SOP Class that is"
    " not segmentation"
)
"""What dciodvfy says of a report's reference into a label map, which it knows otherwise."""

NO_IMAGE = "Invalid or unknown image SOP class referenced from IMAGE content item"
"""What dsrdump says of such a reference; it shows nothing of the whole document then."""


def of_modality(modality: str) -> list[Row]:
    """Rows that dcmqi reads."""
    return [row for row in READ_BY_DCMQI if row.kinds[0].traits.modality == modality]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """All objects of a few structures."""
    spec = replace(VIEWED_PHANTOM, seed=1)
    return publish(tmp_path_factory.mktemp("conformance"), spec, keys=KEYS)


@pytest.fixture(scope="module")
def archive(
    namespace: Namespace, running_orthanc: Orthanc, published: Published
) -> Iterator[Orthanc]:
    """Orthanc with the source images, as in a hospital; emptied in the end."""
    with namespace.inside():
        running_orthanc.upload(published.known.paths)
    yield running_orthanc
    with namespace.inside():
        running_orthanc.empty()


@pytest.fixture(scope="module")
def second_archive(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dcmqrscp]:
    """The archive of a second maker."""
    archive = start_dcmqrscp(namespace, tmp_path_factory.mktemp("dcmqrscp"))
    try:
        reachable = open_listeners([archive.process.pid])
        if reachable:
            pytest.fail(f"the harness's own listener is open to the network: {reachable}")
        yield archive
    finally:
        archive.stop()


@pytest.fixture(scope="module")
def templates(published: Published) -> dict[Path, Said]:
    """PixelMed on every document, at once, for it starts slowly."""
    return pixelmed(*(path for row in DOCUMENTS for path in published.of(row)))


def record(findings: Findings, row: Row, check: Check, said: list[Said]) -> list[str]:
    """Note what a validator said of a row's objects, and return the errors."""
    errors = [error for one in said for error in one.errors]
    warnings = [warning for one in said for warning in one.warnings]
    kinds = len(set(warnings))
    text = (
        f"{_count(len(errors), 'error')}, {_count(kinds, 'kind')} of warning"
        if kinds
        else _count(len(errors), "error")
    )
    messages = [*(f"error: {e}" for e in errors), *(f"warning: {w}" for w in warnings)]
    findings.record(row, check, text, [f"{check}, {one}" for one in messages])
    return errors


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_dciodvfy_finds_no_error_but_in_references_into_a_label_map(
    row: Row, published: Published, findings: Findings
) -> None:
    errors = record(findings, row, Check.DCIODVFY, [dciodvfy(one) for one in published.of(row)])

    into_a_label_map = len(KEYS) if row.kinds == (ResultKind.SR_LABELMAP,) else 0
    assert errors == [NO_SEGMENTATION] * into_a_label_map


@pytest.mark.parametrize("row", DOCUMENTS, ids=str)
def test_documents_follow_their_templates(
    row: Row, published: Published, templates: dict[Path, Said], findings: Findings
) -> None:
    said = [templates[path] for path in published.of(row)]

    assert record(findings, row, Check.PIXELMED, said) == []


def test_under_its_own_title_pixelmed_has_no_error_to_tell_of_the_record(
    published: Published,
) -> None:
    """It warns that nothing in it is in a template, for it looks for one by the title."""
    (path,) = published.of(BY_RENDERING[ResultKind.SR])

    said = pixelmed_as_sent(path)[path]

    assert has_own_title(path)
    assert said.errors == ()
    assert all(one.endswith("Content Item not in template") for one in said.warnings)


@pytest.mark.parametrize("row", DOCUMENTS, ids=str)
def test_dsrdump_shows_every_document_but_the_report_on_a_label_map(
    row: Row, published: Published, findings: Findings
) -> None:
    """DCMTK 3.6.7 ends with exit code 1 there, and has shown nothing."""
    (path,) = published.of(row)

    shown, said = dsrdump(path)

    if row.kinds == (ResultKind.SR_LABELMAP,):
        note = f"dsrdump, exit code 1: {NO_IMAGE} (with -Ei it shows all but the references)"
        findings.record(row, Check.DSRDUMP, "nothing shown", [note])
        assert shown == ""
        assert said[0] == NO_IMAGE
    else:
        findings.record(row, Check.DSRDUMP, "shown")
        assert said == []
        named = [BY_KEY[key].title for key in KEYS if row.kinds[0].traits.modality == "SR"]
        assert all(f'"{one}"' in shown for one in ["Device Observer Name", *named])


@pytest.mark.parametrize("row", of_modality("SEG"), ids=str)
def test_dcmqi_reads_segmentations_back_voxel_by_voxel(
    row: Row, published: Published, findings: Findings, tmp_path: Path
) -> None:
    """The objects of a row together hold all that was segmented, and nothing else."""
    case = published.known.case
    read = np.zeros(case.segments.shape, np.uint8)
    for kind in row.kinds:
        path = published.files[kind]
        read += read_segments(path, case.geometry, tmp_path / kind)

    wrong = int((read != case.segments).sum())
    text = "every voxel read back" if wrong == 0 else f"{wrong} voxels read otherwise"
    findings.record(row, Check.DCMQI, text)
    assert wrong == 0
    assert set(np.unique(read)) == {0, *(BY_KEY[key].number for key in KEYS)}


@pytest.mark.parametrize("row", of_modality("SR"), ids=str)
def test_dcmqi_reads_the_volumes_of_the_reports(
    row: Row, published: Published, findings: Findings, tmp_path: Path
) -> None:
    """To the two decimals that the report gives."""
    (path,) = published.of(row)
    known = {
        one.segment.key: round(one.volume_cm3, 2)
        for one in (result.measured for result in published.known.case.structures)
        if one.volume_cm3 is not None
    }

    read = read_volumes_cm3(path, tmp_path)

    same = sum(read.get(key) == volume for key, volume in known.items())
    findings.record(row, Check.DCMQI, f"{same} of {len(known)} volumes read")
    assert read == known


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> dict[Stack, Stacked]:
    """The stacks that readers trip over, with their segmentations."""
    return {one: stacked(tmp_path_factory.mktemp(one.name.lower()), one) for one in Stack}


@pytest.mark.parametrize("row", STACK_ROWS, ids=str)
def test_dciodvfy_finds_no_error_in_any_stack(
    row: StackRow, stacks: dict[Stack, Stacked], findings: Findings
) -> None:
    errors = dciodvfy(stacks[row.stack].files[row.kind]).errors

    findings.of_stacks[row, Reader.DCIODVFY] = _count(len(errors), "error")
    assert errors == ()


@pytest.mark.parametrize("row", STACK_ROWS, ids=str)
def test_dcmqi_reads_every_stack_but_an_uneven_one(
    row: StackRow, stacks: dict[Stack, Stacked], findings: Findings, tmp_path: Path
) -> None:
    """Of uneven slices it takes the first step for all, without a word."""
    stack = stacks[row.stack]

    share = stack.misplaced(by_dcmqi(stack.files[row.kind], tmp_path))

    findings.of_stacks[row, Reader.DCMQI] = _placed(share)
    assert (share > 0) is _is_uneven(row)


@pytest.mark.parametrize("row", STACK_ROWS, ids=str)
def test_highdicom_reads_every_stack_but_an_uneven_one(
    row: StackRow, stacks: dict[Stack, Stacked], findings: Findings
) -> None:
    stack = stacks[row.stack]
    try:
        share = stack.misplaced(by_highdicom(stack.files[row.kind]))
        said = _placed(share)
    except RuntimeError as error:
        said = f"refused: {error}"

    findings.of_stacks[row, Reader.HIGHDICOM] = said
    assert said.startswith("refused") is _is_uneven(row)
    assert _is_uneven(row) or said == IN_PLACE


IN_PLACE = "every voxel in its place"


def _placed(share: float) -> str:
    return f"no error, {share:.1%} elsewhere" if share else IN_PLACE


def _is_uneven(row: StackRow) -> bool:
    return row.stack is Stack.UNEVEN and row.kind is not ResultKind.SEG_EVEN


def test_dcmqi_takes_only_maps_of_floating_point_numbers(
    published: Published, findings: Findings, tmp_path: Path
) -> None:
    """Ours holds integers with a scale, which more viewers show."""
    row = BY_RENDERING[ResultKind.PM]
    (path,) = published.of(row)

    done = subprocess.run(
        [PROGRAMS / "paramap2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path],
        check=False, capture_output=True,
    )  # fmt: skip

    reason = "dcmqi: its paramap2itkimage ends with a fault"
    failed = done.returncode != 0
    findings.record(row, Check.DCMQI, "not read" if failed else "read", [reason] * failed)
    assert failed, "dcmqi reads integer maps now: compare the values"


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_orthanc_takes_the_object_and_gives_it_back_by_dicomweb(
    row: Row, published: Published, archive: Orthanc, findings: Findings, tmp_path: Path
) -> None:
    peer = Peer("pacs", PACS_AE, "127.0.0.1", DICOM_PORT)

    answer = archived(peer, archive, published.of(row), tmp_path)

    findings.record(row, Check.ORTHANC, *answer.words("DICOMweb"))
    assert answer.same


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_dcmqrscp_takes_what_it_knows_and_gives_it_back_by_c_move(
    row: Row,
    published: Published,
    second_archive: Dcmqrscp,
    findings: Findings,
    tmp_path: Path,
) -> None:
    """It knows no label map, and says so: that is what the node's way back to BINARY is for."""
    paths = published.of(row)

    answer = archived(
        Peer("second", AE_TITLE, "127.0.0.1", PORT), second_archive, paths, tmp_path
    )

    findings.record(row, Check.DCMQRSCP, *answer.words("C-MOVE"))
    if row.kinds == (ResultKind.SEG_LABELMAP,):
        assert answer.refused
    elif row.kinds == (ResultKind.PM,):
        assert answer.found
        assert not answer.given_back, "dcmqrscp sends parametric maps now: ask that of it too"
    else:
        assert answer.same


@dataclass(frozen=True, slots=True)
class Archived:
    """How an archive dealt with objects.

    reasons: why it did not take those that it did not take.
    refused: whether it does not take such objects at all.
    """

    reasons: tuple[str, ...] = ()
    refused: bool = False
    found: bool = False
    given_back: bool = False
    same: bool = False

    def words(self, by: str) -> tuple[str, list[str]]:
        """For the table, with footnotes."""
        if self.reasons:
            return "refused" if self.refused else "not stored", list(self.reasons)
        if not self.found:
            return "stored, but not found", []
        if not self.given_back:
            return f"stored, found; not sent by {by}", ["dcmqrscp offers no context for it"]
        return f"stored, found; {'the same' if self.same else 'not the same'} by {by}", []


def archived(
    peer: Peer, archive: Orthanc | Dcmqrscp, paths: list[Path], folder: Path
) -> Archived:
    """Send objects to an archive, look for them there, and get them back."""
    unsent = [one for one in send(peer, paths) if not one.stored]
    if unsent:
        reasons = tuple(one.reason for one in unsent)
        return Archived(reasons, refused=all(one.refused for one in unsent))
    places = [astuple(address_of(path)) for path in paths]
    if not all(archive.finds(*place) for place in places):
        return Archived()
    fetched = [archive.fetch(*place, folder / place[2]) for place in places]
    back = [dataset_bytes(path) for path in fetched if path is not None]
    return Archived(
        found=True,
        given_back=len(back) == len(paths),
        same=back == [dataset_bytes(path) for path in paths],
    )
