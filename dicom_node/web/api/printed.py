"""The API's description as a file: `python -m dicom_node.web.api.printed` prints it."""

from __future__ import annotations

import json
import sys

from fastapi import FastAPI

from dicom_node.web.api.router import description, router


def printed() -> str:
    """The text of docs/openapi.json."""
    app = FastAPI()
    app.include_router(router)
    return json.dumps(description(app), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(printed())
