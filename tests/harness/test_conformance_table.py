"""The table in the documentation against what this run of the harness found."""

from __future__ import annotations

import pytest
from support.conformance import DOCUMENT, Findings, document


def test_the_table_in_the_docs_is_what_this_run_found(
    findings: Findings, request: pytest.FixtureRequest
) -> None:
    """Runs after all other tests of the harness, which fill the table (`conftest`).

    Versions of programs may differ: Debian renews them by itself. What they say may not.
    """
    if findings.missing:
        pytest.skip(
            f"only a part of the harness was run: {'; '.join(findings.missing[:3])} ..."
        )
    if request.config.getoption("--update-conformance"):
        DOCUMENT.write_text(document(findings), encoding="utf-8")

    written = DOCUMENT.read_text(encoding="utf-8")
    for table in (findings.table(), findings.stack_table()):
        assert table in written, "docs/conformance.md is stale (make conformance)"
