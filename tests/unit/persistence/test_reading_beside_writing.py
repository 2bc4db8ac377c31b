"""Claims about one process that reads an SQLite file and writes it beside the worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dicom_node.persistence.ledger import Ledger

PAGES = """\
import sys
import sqlalchemy as sa
from dicom_node.persistence.database import open_to_read, reads_beside_writes
from dicom_node.persistence.ledger import existing_ledger

reads_beside_writes()
reading = open_to_read(sys.argv[1]).connect()
reading.execute(sa.text("SELECT count(*) FROM series")).all()
ledger = existing_ledger(sys.argv[1])
ledger.transact(lambda one: one.execute(sa.text("DELETE FROM series")))
"""


def test_pages_write_an_order_while_another_page_is_being_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'node.sqlite'}"
    worker = Ledger(url)
    try:
        assert (tmp_path / "node.sqlite-shm").exists()
        pages = subprocess.run(
            [sys.executable, "-c", PAGES, url],
            check=False,
            capture_output=True,
            text=True,
        )
    finally:
        worker.close()

    assert pages.returncode == 0, pages.stderr
