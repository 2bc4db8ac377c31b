"""Which pages are generated, and by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from support.generated.configuration import configuration
from support.generated.statement import statement
from support.generated.states import states

DOCS = Path(__file__).parents[3] / "docs"

PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "configuration.md": configuration,
    DOCS / "dicom-conformance-statement.md": statement,
    DOCS / "states-and-errors.md": states,
}
