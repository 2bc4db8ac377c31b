"""Pictures of a series: the QC page as it was sent, and its slices with what was found."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response
from PIL import Image

from dicom_node.cohort.thumbnails import DAMAGED, picture_of
from dicom_node.node.slice_pictures import NoPicturesError, PicturedSeries, SlicePictures
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import ResultRow
from dicom_node.results.kinds import ResultKind
from dicom_node.web.access import require_viewer
from dicom_node.web.auditing import tell_look
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import existing_uid

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

REVISION = Annotated[int, Query(ge=1, le=10**6)]
MOST_SLICES: Final = 1 << 20


def pictures_of(request: Request) -> SlicePictures:
    """The pictures of this node: one memory for the whole application."""
    return _pictures(config_of(request).node.spool)


@functools.cache
def _pictures(spool: Path) -> SlicePictures:
    return SlicePictures(spool)


def pictured(
    request: Request, ledger: Ledger, uid: str, revision: int
) -> tuple[PicturedSeries | None, str]:
    """The slices of a series, or why they cannot be shown."""
    try:
        return pictures_of(request).series(ledger, uid, revision), ""
    except NoPicturesError as error:
        return None, str(error)


def kept_page(results: tuple[ResultRow, ...]) -> Path | None:
    """The file of the QC page, if there is one and it is kept."""
    found = (Path(each.path) for each in results if each.kind == ResultKind.SC)
    return next((path for path in found if path.is_file()), None)


@router.get("/series/{uid}/slices/{number}.png")
def slice_picture(
    request: Request,
    uid: str,
    number: int,
    revision: REVISION = 1,
    overlay: Annotated[int, Query(ge=0, le=1)] = 1,
) -> Response:
    """One slice, counted from 1 at the feet."""
    uid = existing_uid(uid)
    with reading(request) as ledger:
        row = ledger.series(uid, revision) if ledger is not None else None
        if ledger is None or row is None:
            raise HTTPException(404, "there is no such revision of a series")
        try:
            pictures = pictures_of(request)
            series = pictures.series(ledger, uid, revision)
            png = pictures.png(series, min(number, MOST_SLICES), overlay=bool(overlay))
        except NoPicturesError as error:
            raise HTTPException(404, str(error)) from None
    tell_look(request, row.study_instance_uid, uid, is_part=True)
    return Response(png, media_type="image/png")


@router.get("/series/{uid}/qc.png")
def qc_picture(request: Request, uid: str, revision: REVISION = 1) -> Response:
    """The QC page as it was sent."""
    uid = existing_uid(uid)
    with reading(request) as ledger:
        row = ledger.series(uid, revision) if ledger is not None else None
        path = kept_page(ledger.results(uid, revision)) if ledger is not None else None
    if path is None or row is None:
        raise HTTPException(404, "there is no QC page of it, or it is not kept any more")
    try:
        picture = picture_of(path)
    except DAMAGED:
        raise HTTPException(404, "its QC page cannot be read") from None
    tell_look(request, row.study_instance_uid, uid, is_part=True)
    return Response(_png(picture), media_type="image/png")


def _png(picture: Image.Image) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG", compress_level=4)
    return encoded.getvalue()
