"""An analysis child that takes a given time and next to no processor: `SECONDS REQUEST.json`.

It answers that the series is refused, so that what follows (a picture, a key object, their
delivery) is done too. It loads nothing of the node, and ends with its worker, as the real one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

COMMAND = (sys.executable, str(Path(__file__)))


def main(seconds: float, path: Path) -> int:
    """Wait, then answer."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    request = json.loads(path.read_text())
    time.sleep(seconds)
    outcome = {
        "kind": "refused",
        "settings_hash": request["settings_hash"],
        "finished_at": datetime.now(UTC).isoformat(),
        "code": "too-few-slices",
        "words": "a stand-in looked at it",
    }
    part = path.with_name("outcome.part")
    part.write_text(json.dumps(outcome))
    part.rename(path.with_name("outcome.json"))
    return 0


def _end_with_standard_input() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2])))
