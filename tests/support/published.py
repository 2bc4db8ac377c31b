"""A known case and every object the node makes of it, as files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from inference.phantom.spec import PhantomSpec
from sr_templates.context import InstanceInSeries
from support.cases import CONTEXT
from support.conformance import Row
from support.truth import KnownCase, known_case

REPLACED = InstanceInSeries(ResultKind.SR.traits.sop_class_uid, "2.25.7001", "2.25.7002")
"""A report of an earlier revision, to be rejected."""


@dataclass(frozen=True, slots=True)
class Address:
    """An object's study, series and instance."""

    study: str
    series: str
    instance: str


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """The case with its objects' files."""

    known: KnownCase
    files: dict[ResultKind, Path]

    def of(self, row: Row) -> list[Path]:
        """The files of a line of the table."""
        return [self.files[kind] for kind in row.kinds]


def publish(
    folder: Path,
    spec: PhantomSpec,
    wanted: Collection[ResultKind] = tuple(ResultKind),
    *,
    keys: Collection[str] = (),
) -> Published:
    """Write a phantom and its objects into `folder`; `keys` as `known_case` has them."""
    known = known_case(folder / "series", spec, keys=keys)
    context = replace(CONTEXT, replaced=(REPLACED,))
    objects = publish_case(known.series, known.case, context, wanted)
    files = write_results(objects, folder / "objects")
    return Published(known, {one.kind: path for one, path in zip(objects, files, strict=True)})


def address_of(path: Path) -> Address:
    """Where an archive keeps an object."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return Address(
        str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
    )
