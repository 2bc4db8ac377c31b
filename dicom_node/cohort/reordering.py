"""Rows of a pseudonymised table in an order that tells nothing of the real names.

Cases are read by patient key and date. In that order the n-th pseudonym would be the n-th
patient of a list of Patient IDs, as a folder's patient key is a digest that anybody can
work out. The rows are put down in a file without a name, already pseudonymised, and taken up
by pseudonym: memory holds the place of each case, whatever the cases hold.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryFile

from dicom_node.cohort.columns import Row


def by_pseudonym(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Pseudonymised rows by their own patients, dates and cases.

    Args:
        rows: in any order.
        folder: where the file without a name lies: some KiB a case.

    Raises:
        OSError: the disk is full or fails.
    """
    with TemporaryFile(dir=folder) as file:
        places = []
        for row in rows:
            content = zlib.compress(pickle.dumps(row), 1)
            places.append((_place(row), file.tell(), len(content)))
            file.write(content)
        for _, offset, length in sorted(places):
            file.seek(offset)
            # Nobody else can have written it: no name leads to the file.
            yield pickle.loads(zlib.decompress(file.read(length)))  # noqa: S301


def _place(row: Row) -> tuple[str, date, str]:
    """Cases of nobody that is named come each by itself."""
    source = row.case.source
    return source.patient_key or source.name, source.study_date or date.min, source.name
