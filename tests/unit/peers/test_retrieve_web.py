"""Claims about multipart messages, however they are cut on their way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.peers.retrieve_web import parts_of

BODIES = [b"first", b"", b"\r\n--not the end\r\n\r\n", b"\r\n--en", b"x" * 300]
HEAD = b"Content-Type: application/dicom\r\n\r\n"
WHOLE = (
    b"a preamble\r\n"
    + b"".join(b"\r\n--end\r\n" + HEAD + each for each in BODIES)
    + b"\r\n--end--\r\nan epilogue"
)


def cut(message: bytes, size: int) -> Iterator[bytes]:
    return (message[start : start + size] for start in range(0, len(message), size))


@given(st.integers(min_value=1, max_value=len(WHOLE)))
def test_parts_are_the_same_however_the_message_is_cut(size: int) -> None:
    assert list(parts_of(cut(WHOLE, size), b"end", 1000)) == BODIES


def test_a_part_without_headers_begins_after_an_empty_line() -> None:
    message = b"--end\r\n\r\nbody\r\n--end--"

    assert list(parts_of(cut(message, 5), b"end", 1000)) == [b"body"]


@given(st.integers(min_value=0, max_value=WHOLE.index(b"--end--") + 5))
def test_a_message_that_breaks_off_anywhere_is_known_to(length: int) -> None:
    with pytest.raises(EOFError):
        list(parts_of(cut(WHOLE[:length], 7), b"end", 1000))


def test_a_part_is_no_longer_than_it_may_be() -> None:
    """The last one has 300 bytes."""
    assert list(parts_of(cut(WHOLE, 16), b"end", 300)) == BODIES
    with pytest.raises(ValueError, match="a part of more than 250 bytes"):
        list(parts_of(cut(WHOLE, 16), b"end", 250))
