"""Claims about the process that starts the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_node import small_config

from dicom_node.errors import ConfigurationError
from dicom_node.node import supervisor


def test_an_error_of_the_system_that_names_no_file_is_told_without_one(tmp_path: Path) -> None:
    """Started with 12 descriptors, it said "None: Too many open files"."""
    config = small_config(tmp_path, None)

    with (
        pytest.raises(ConfigurationError, match=r"^Too many open files$"),
        supervisor._locks(config, ("receive",)),
    ):
        raise OSError(24, "Too many open files")
