"""The dashboard: how much was judged, how often wrongly, how scores drift, how people agree."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import figures, review_views, templates
from api.alerts import alerts
from api.review_pages import sign_in_first
from api.services import Given
from api.sessions import Guest
from db import dashboard

router = APIRouter(prefix="/review", include_in_schema=False)


@router.get("/dashboard")
def dashboard_page(visitor: Guest, request: Request, services: Given) -> Response:
    """How things stand."""
    if visitor is None:
        return sign_in_first(request)
    board = services.counted.board()
    workers = review_views.workers(services)
    return templates.page(
        "dashboard",
        visitor,
        board=board,
        workers=workers,
        alerts=alerts(figures.seen(board, workers)),
        limits={"moved": dashboard.MOVED, "other": dashboard.OTHER, "few": dashboard.FEW},
    )
