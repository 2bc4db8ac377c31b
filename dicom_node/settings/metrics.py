"""The table of metrics: who may read them over HTTP."""

from __future__ import annotations

from dicom_node.settings.values import Section
from dicom_node.settings.web import Network


class Metrics(Section):
    """Metrics for Prometheus, under `/metrics` of the web pages' port."""

    allowed: tuple[Network, ...] = ("127.0.0.1", "::1")
    """Addresses and networks that may read `/metrics` without a token; empty: nobody."""
