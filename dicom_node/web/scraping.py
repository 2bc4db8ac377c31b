"""Who may read metrics without a token: programs at addresses that the settings name.

Metrics hold numbers and names of the site's own settings, and nothing of patients. A request
that was passed on by a proxy that is not ours comes from somebody else than the network says.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers

from dicom_node.settings.metrics import Metrics
from dicom_node.web.accounts.callers import Caller, is_among

METRICS_PATH: Final = "/metrics"
PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers that a proxy adds."""


def is_scraper(caller: Caller, headers: Headers, settings: Metrics) -> bool:
    """True if a request comes from an address that may read metrics."""
    is_passed_on = any(name in headers for name in PASSED_ON)
    if is_passed_on and not caller.is_proxied:
        return False
    return is_among(caller.address, settings.allowed)
