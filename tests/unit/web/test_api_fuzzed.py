"""Claims about the API under requests that nobody would make, by its own description."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hostile_node import fill_ledger
from support.web_client import token_for, web_config
from support.web_served import served

from dicom_node.uids import is_uid
from dicom_node.web.accounts.roles import Role
from dicom_node.web.api.router import description
from dicom_node.web.app import web_app

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
SEED = "20261130"
PASSED = re.compile(r"(\d+) generated")


def description_with_names(app: Any, uids: list[str]) -> dict[str, Any]:
    """The API's description with what there is to ask for: else most answers are 404."""
    found = description(app)
    choice = found["components"]["schemas"]["SeriesChoice"]["properties"]
    choice["series_instance_uid"]["enum"] = [uid for uid in uids if is_uid(uid)]
    for path in found["paths"].values():
        for operation in path.values():
            for each in operation.get("parameters", ()):
                if each["in"] == "path" and each["name"] == "name":
                    each["schema"]["enum"] = ["pacs"]
                if each["in"] == "path" and each["name"] == "series_instance_uid":
                    each["schema"]["enum"] = choice["series_instance_uid"]["enum"]
    return found


@pytest.mark.parametrize("role", list(Role))
def test_no_request_makes_the_api_fail_or_break_its_own_description(
    role: Role, tmp_path: Path
) -> None:
    """By schemathesis, with a viewer's and with an operator's token, in some ten seconds each.

    The ledger it is asked about is full of hostile values.
    """
    config = web_config(tmp_path, {"destinations": [PACS]})
    rows = fill_ledger(config)
    app = web_app(config)
    file = tmp_path / "openapi.json"
    uids = [row.series_instance_uid for row in rows]
    file.write_text(json.dumps(description_with_names(app, uids)))
    with served(config, app) as port:
        done = subprocess.run(
            [
                *(SCHEMATHESIS, "run", str(file), "--url", f"http://127.0.0.1:{port}"),
                *("--header", f"Authorization: Bearer {token_for(config, role)}"),
                *("--checks", "all", "--phases", "coverage,fuzzing", "--seed", SEED),
                *("--max-examples", "5", "--no-shrink", "--suppress-health-check", "all"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    found = PASSED.search(done.stdout)

    assert done.returncode == 0, done.stdout + done.stderr
    assert found is not None, done.stdout
    assert int(found.group(1)) > 50
