"""Tables as files: CSV for every program, Parquet with types; row after row, then whole.

An empty cell of a CSV file stands for "nothing to say", as null does in Parquet. A text that
a spreadsheet would take for a formula (it begins with =, +, -, @, a tab or a carriage return)
gets an apostrophe before it in CSV, the way in which spreadsheets mark text; numbers are
numbers, and stay.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self

from dicom_node.cohort.columns import Column, Kind

ROWS_AT_A_TIME: Final = 8192
"""Rows of a row group in Parquet, and that are held in memory."""
BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """The form of a table's file; the value is its ending."""

    CSV = "csv"
    PARQUET = "parquet"


class TableFile(AbstractContextManager["TableFile"], Protocol):
    """A table that is being written."""

    def add(self, values: Sequence[Any]) -> None:
        """Write a row: a value a column."""


def table_file(path: Path, columns: Sequence[Column], form: Format) -> TableFile:
    """A table in a new file of a form."""
    return (CsvTable if form is Format.CSV else ParquetTable)(path, columns)


class CsvTable:
    """A table in a CSV file (RFC 4180, UTF-8), its first row the columns' names."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\r\n")
        self._forms = [CELLS[column.kind] for column in columns]
        self._rows.writerow([column.name for column in columns])

    def add(self, values: Sequence[Any]) -> None:
        """Write a row."""
        self._rows.writerow(
            "" if value is None else form(value)
            for form, value in zip(self._forms, values, strict=True)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._file.close()


class ParquetTable:
    """A table in a Parquet file; each column carries its meaning as metadata."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - CSV does without it
        from pyarrow import parquet  # noqa: PLC0415

        types = {
            Kind.TEXT: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.NUMBER: pa.float64(),
            Kind.DATE: pa.date32(),
            Kind.MOMENT: pa.timestamp("us", tz="UTC"),
            Kind.TRUTH: pa.bool_(),
        }
        self._schema = pa.schema(
            [
                pa.field(each.name, types[each.kind], metadata={"meaning": each.meaning})
                for each in columns
            ]
        )
        self._batch = pa.record_batch
        self._kinds = [each.kind for each in columns]
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Sequence[Any]] = []

    def add(self, values: Sequence[Any]) -> None:
        """Write a row, with others."""
        self._waiting.append(values)
        if len(self._waiting) >= ROWS_AT_A_TIME:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = [
            [None if value is None else TYPED.get(kind, _itself)(value) for value in values]
            for kind, values in zip(self._kinds, zip(*self._waiting, strict=True), strict=True)
        ]
        self._writer.write_batch(self._batch(columns, schema=self._schema))
        self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


def no_formula(text: str) -> str:
    """A text that no spreadsheet calculates."""
    return f"'{text}" if text.startswith(BEGINS_A_FORMULA) else text


def _itself(value: Any) -> Any:
    return value


def _day(day: date) -> str:
    return day.isoformat()


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


CELLS: Final[dict[Kind, Callable[[Any], str]]] = {
    Kind.TEXT: lambda value: no_formula(str(value)),
    Kind.INTEGER: str,
    Kind.NUMBER: repr,
    Kind.DATE: _day,
    Kind.MOMENT: _moment,
    Kind.TRUTH: lambda value: "true" if value else "false",
}
TYPED: Final[dict[Kind, Callable[[Any], Any]]] = {Kind.TEXT: str, Kind.NUMBER: float}
