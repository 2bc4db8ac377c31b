"""Values with large arrays from one process to another, in memory that has no name.

A parcel is a descriptor of anonymous memory (memfd_create(2)). It is handed over a Unix socket
as it is, by processes that need not look inside, and it is gone with the last of them, however
that one ended. Whoever opens it maps the arrays where they lie; nothing is copied.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
from collections.abc import Iterator
from typing import Any, Final

ALIGNED_BYTES: Final = 64
_COUNT: Final = struct.Struct("<Q")


def packed(value: Any) -> int:
    """A parcel of a value: a descriptor that the caller owns.

    Raises:
        OSError: there is no memory left.
    """
    arrays: list[pickle.PickleBuffer] = []
    words = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(words), *(array.raw() for array in arrays)]
    sizes = [len(part) for part in parts]
    header = b"".join(map(_COUNT.pack, (len(parts), *sizes)))
    parcel = os.memfd_create("msk-node-case", os.MFD_CLOEXEC)
    try:
        _write(parcel, memoryview(header), 0)
        for start, part in zip(_starts(sizes), parts, strict=True):
            _write(parcel, part, start)
        os.ftruncate(parcel, max(os.fstat(parcel).st_size, 1))
    except BaseException:
        os.close(parcel)
        raise
    return parcel


def unpacked(parcel: int) -> Any:
    """The value in a parcel. Its arrays are this process's own: what it changes it alone sees.

    Only for parcels of our own processes: a pickle can do anything.
    """
    size = os.fstat(parcel).st_size
    memory = memoryview(mmap.mmap(parcel, size, mmap.MAP_PRIVATE))
    (count,) = _COUNT.unpack_from(memory)
    sizes = [_COUNT.unpack_from(memory, _COUNT.size * (1 + place))[0] for place in range(count)]
    words, *arrays = (
        memory[start : start + size] for start, size in zip(_starts(sizes), sizes, strict=True)
    )
    return pickle.loads(words, buffers=arrays)  # noqa: S301 - our own


def _starts(sizes: list[int]) -> Iterator[int]:
    """Where each part begins, behind the header."""
    place = _COUNT.size * (1 + len(sizes))
    for size in sizes:
        place = -(-place // ALIGNED_BYTES) * ALIGNED_BYTES
        yield place
        place += size


def _write(parcel: int, part: memoryview, place: int) -> None:
    while part:
        written = os.pwrite(parcel, part, place)
        part, place = part[written:], place + written
