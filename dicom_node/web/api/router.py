"""All routes of the API, and its description."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi

from dicom_node.web.access import require_viewer
from dicom_node.web.api import destinations, node, orders, series
from dicom_node.web.api.schemas import Problem
from dicom_node.web.problems import PROBLEM_JSON

PREFIX: Final = "/api/v1"
TITLE: Final = "msk-node"
VERSION: Final = "1"
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": words,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, words in (
        (400, "The body cannot be read."),
        (401, "No token, or one that is not known or has ended."),
        (403, "An operator may do this."),
        (404, "There is nothing of that name."),
        (409, "The node cannot do this as things are."),
        (413, "More than a request may hold."),
        (422, "Not as it has to be; `detail` says where."),
        (503, "The database cannot be read, or the answer took too long."),
    )
}

router: Final = APIRouter(
    generate_unique_id_function=lambda route: route.name,
    prefix=PREFIX,
    dependencies=[Depends(require_viewer)],
    responses=PROBLEMS,
)
for _each in (node, series, orders, destinations):
    router.include_router(_each.router)


@router.get("/openapi.json", include_in_schema=False)
def described(request: Request) -> dict[str, Any]:
    """The description of the API (OpenAPI 3.1)."""
    return description(request.app)


def description(app: FastAPI) -> dict[str, Any]:
    """What an application's API offers, as OpenAPI: the same for every node."""
    found: dict[str, Any] = get_openapi(
        title=TITLE,
        version=VERSION,
        summary="A node that segments hip-to-knee CT: what it does, and orders for it.",
        routes=app.routes,
    )
    found.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"}
    }
    found["security"] = [{"token": []}]
    schemas = found["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    return found
