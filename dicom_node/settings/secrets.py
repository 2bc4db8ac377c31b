"""The secrets that settings name the place of: a file's first line, or a variable.

They are read for each use, and are in no value, message or log.
"""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.errors import ConfigurationError


def read_secret(file: Path | None, variable: str | None) -> str:
    """The first line of a file, or the value of a variable of the environment.

    Raises:
        ConfigurationError: there is no secret.
    """
    if file is not None:
        try:
            found = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{file}: is not UTF-8") from None
    else:
        found = os.environ.get(variable or "", "")
    if not found:
        raise ConfigurationError(f"{file or variable} holds no secret")
    return found
