"""Property-based fuzzing of parse -> volume: minutes here, hours by `make fuzz`.

Whatever is done to sound files, reading them ends in a volume or in a refusal with a code.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from support.corpus.sound import Elements, encoded, in_order, meta, raw_element
from support.ct import enhanced_ct
from support.fuzzing import READ, Reading, seed_slices, seeds

from dicom_node.errors import SeriesError
from dicom_node.series.slice_headers import HEADER_KEYWORDS

REGRESSIONS = Path(__file__).parents[2] / "fuzz" / "regressions"
SEEDS = seeds()
CODES = {READ, *(kind.code for kind in SeriesError.__subclasses__())}
TAGS = [
    *(tag for keyword in HEADER_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None),
    *(0x00080005, 0x7FE00010, 0x00291010, 0x00082112),
]
VRS = [
    b"CS",
    b"DS",
    b"IS",
    b"LO",
    b"OB",
    b"OW",
    b"PN",
    b"SH",
    b"SQ",
    b"UI",
    b"UN",
    b"US",
    b"UT",
]
VRS += [b"AT", b"FD", b"FL", b"SS", b"SL", b"UL", b"UC", b"TM", b"DA", b"QQ", b"\0\0"]
NUMBERS = [
    b"NaN",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"65535",
    b"4294967296",
    b"1\\2\\3",
    b"\\\\",
    b" ",
]
LENGTHS = st.sampled_from([None, 0, 1, 2, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF])


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return Reading(tmp_path_factory.mktemp("fuzz"))


def damaged_values() -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.binary(max_size=64),
        st.integers(0, 65535).map(lambda value: struct.pack("<H", value)),
        st.floats().map(lambda value: struct.pack("<d", value)),
        st.text(alphabet="0123456789.\\-eE+ ", max_size=40).map(str.encode),
        st.binary(max_size=30).map(lambda value: b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + value),
    )


@st.composite
def element_edits(draw: st.DrawFn) -> list[tuple[int, bytes | None]]:
    """Elements of one file to replace, add or (with None) remove."""
    edits: list[tuple[int, bytes | None]] = []
    for _ in range(draw(st.integers(1, 4))):
        tag = draw(st.sampled_from(TAGS))
        if draw(st.booleans()) and draw(st.booleans()):
            edits.append((tag, None))
        else:
            vr, value = draw(st.sampled_from(VRS)), draw(damaged_values())
            edits.append((tag, raw_element(tag, vr, value, draw(LENGTHS))))
    return edits


@st.composite
def byte_edits(draw: st.DrawFn) -> bytes:
    """A sound file in any syntax with bytes changed, taken out, put in, or cut off."""
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(132, len(data) - 1))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[place] = draw(st.integers(0, 255))
        elif kind == 1:
            del data[place : place + draw(st.integers(1, 16))]
        elif kind == 2:
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        else:
            del data[max(place, 200) :]
    return bytes(data)


FUZZED = settings(
    max_examples=400,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""The same examples every time: a red test here must mean a change here."""


@FUZZED
@given(edits=element_edits(), many=st.booleans())
def test_any_edit_of_elements_ends_in_a_volume_or_a_refusal(
    reading: Reading, edits: list[tuple[int, bytes | None]], *, many: bool
) -> None:
    dataset = enhanced_ct(seed_slices()) if many else seed_slices()[1]
    elements: Elements = encoded(dataset)
    for tag, raw in edits:
        elements.pop(tag, None)
        if raw is not None:
            elements[tag] = raw

    assert set(reading.ends(meta(dataset) + in_order(elements))) <= CODES


@FUZZED
@given(data=byte_edits())
@example(data=b"")
@example(data=b"\0" * 128 + b"DICM")
def test_any_edit_of_bytes_ends_in_a_volume_or_a_refusal(reading: Reading, data: bytes) -> None:
    assert set(reading.ends(data)) <= CODES


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_the_seeds_are_sound(reading: Reading, name: str) -> None:
    assert reading.ends(SEEDS[name])[0] == READ


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_a_fuzzer_once_found_is_mended(reading: Reading, path: Path) -> None:
    assert set(reading.ends(path.read_bytes())) <= CODES
