"""`/metrics`: what Prometheus reads, also while the worker is dead or frozen."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dicom_node.node.exposition import CONTENT_TYPE, NodeMetrics
from dicom_node.web.scraping import METRICS_PATH

router = APIRouter()


@router.get(METRICS_PATH, include_in_schema=False)
def metrics(request: Request) -> Response:
    """All metrics; in a thread of its own, for a database may take its time."""
    known: NodeMetrics = request.app.state.metrics
    return Response(known.text(), headers={"content-type": CONTENT_TYPE})
