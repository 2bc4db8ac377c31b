"""Whether all is well, for whoever asks: yes or no, and nothing else without a login.

A look takes a moment, and everybody may ask: it is made once for all who ask within seconds.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from dicom_node.node.health import Health, node_health
from dicom_node.settings.node import NodeConfig

router: Final = APIRouter(include_in_schema=False)
LASTS_S: Final = 5.0


class HealthLook:
    """The last look at a node, and a new one when it is old."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._last: tuple[float, Health] | None = None

    def now(self) -> Health:
        """The health, a few seconds old at most."""
        with self._lock:
            moment_s = time.monotonic()
            if self._last is None or moment_s - self._last[0] > LASTS_S:
                self._last = (moment_s, node_health(self._config, datetime.now(UTC)))
            return self._last[1]


@router.api_route("/health", methods=["GET", "HEAD"])
def health(request: Request) -> Response:
    """200 where all is well, 503 where it is not."""
    look: HealthLook = request.app.state.health
    found = look.now()
    status = "ok" if found.is_healthy else "alarms" if found.is_running else "not running"
    return JSONResponse({"status": status}, 200 if found.is_healthy else 503)
