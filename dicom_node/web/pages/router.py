"""All pages of the dashboard; the application includes them at once."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dicom_node.web.pages import (
    appearance,
    audit,
    destinations,
    devices,
    overview,
    pictures,
    rules,
    schedules,
    search,
    series,
    settings,
    work,
)

router: Final = APIRouter(include_in_schema=False)
for _each in (
    overview,
    work,
    series,
    pictures,
    search,
    devices,
    destinations,
    schedules,
    rules,
    audit,
    settings,
    appearance,
):
    router.include_router(_each.router)
