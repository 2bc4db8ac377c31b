"""Which colours a browser shows: those of its system, light, or dark for the reading room."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse

from dicom_node.web.access import caller, require_viewer
from dicom_node.web.login import inside
from dicom_node.web.templating import SCHEME_COOKIE, Scheme

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])
YEAR_S: Final = 365 * 24 * 3600


@router.post("/appearance")
def set_colours(
    request: Request,
    scheme: Annotated[Scheme, Form()],
    back: Annotated[str, Form(max_length=2048)] = "/",
) -> RedirectResponse:
    """Remember the colours in the browser, and show the page again."""
    answer = RedirectResponse(inside(back), status_code=303)
    answer.set_cookie(
        SCHEME_COOKIE,
        scheme,
        max_age=YEAR_S,
        path="/",
        secure=caller(request).is_https,
        httponly=True,
        samesite="lax",
    )
    return answer
