"""The review pages: sign in, the queue, and the desk at which items are judged."""

from __future__ import annotations

import re
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from api import problems, sessions, templates
from api.services import Given
from api.sessions import CSRF_FIELD, Form, Guest, Visitor
from core.errors import (
    CrossSite,
    DeepsweepError,
    RateLimited,
    ScopeMissing,
    Unauthenticated,
)
from core.vocabulary import Scope
from db import review_queue, review_sheets, reviews

router = APIRouter(prefix="/review", include_in_schema=False)

#: Where somebody may be sent after signing in: pages of ours, and nothing else.
_OURS = re.compile(r"/review(/[a-z0-9/-]{0,100})?")
HOME = "/review"


@router.get("")
def queue_page(visitor: Guest, request: Request, services: Given) -> Response:
    """What waits, what is in hands, and what was decided."""
    if visitor is None:
        return sign_in_first(request)
    with services.database.transaction() as session:
        held = review_queue.held(session, visitor.reviewer)
        done = review_sheets.decisions(session, visitor.reviewer)
        backlog = review_queue.backlog(session)
        waiting = review_queue.waiting_for(session, visitor.reviewer)
        today = review_sheets.judged_today(session, visitor.reviewer)
        agreed = [one for one in reviews.agreement(session) if one.reviewer_id == visitor.caller.id]
    uris = {each.review_id: each.uri for each in held} | {each.review_id: each.uri for each in done}
    return templates.page(
        "queue",
        visitor,
        backlog=backlog,
        waiting=waiting,
        why=review_queue.WHY,
        held=held,
        done=done,
        today=today,
        agreement=agreed[0] if agreed else None,
        uris={number: services.uploads.shown(uri) for number, uri in uris.items()},
    )


@router.get("/item")
def item_page(visitor: Guest, request: Request) -> Response:
    """The desk: one item after the other."""
    return sign_in_first(request) if visitor is None else templates.page("item", visitor)


# --- signing in and out -------------------------------------------------------------------------


@router.get("/sign-in")
def sign_in_page(visitor: Guest, request: Request) -> Response:
    """Asks for a key; sends on whoever is signed in already."""
    onward = _onward(request.query_params.get("next"))
    if visitor is not None:
        return RedirectResponse(onward, HTTPStatus.SEE_OTHER)
    return templates.page("sign-in", onward=onward, problem=None)


@router.get("/signed-in")
def is_signed_in(visitor: Guest) -> dict[str, bool]:
    """Whether the browser's cookie is good.

    Browsers keep a strict cookie back on the way from another site's link; the sign-in page asks
    once more from here, where they send it.
    """
    return {"signed_in": visitor is not None}


@router.post("/sign-in")
async def sign_in(request: Request, services: Given, said: Form) -> Response:
    """Exchange the key for a cookie."""
    onward = _onward(said.get("next"))
    try:
        token = await run_in_threadpool(
            sessions.sign_in, request, services, said.get("key", "").strip()
        )
    except (Unauthenticated, ScopeMissing, RateLimited, CrossSite) as error:
        status = problems.status_of(error)
        return templates.page("sign-in", onward=onward, problem=str(error), status=status)
    response = RedirectResponse(onward, HTTPStatus.SEE_OTHER)
    sessions.set_cookie(request, response, token)
    return response


@router.post("/sign-out")
def sign_out(visitor: Guest, request: Request, services: Given, said: Form) -> Response:
    """End the session, and hand back what the reviewer holds.

    Another site's form comes without the cookie: it must not have the browser drop it either.
    """
    response = RedirectResponse(f"{HOME}/sign-in", HTTPStatus.SEE_OTHER)
    if visitor is None:
        return response
    try:
        visitor.check_token(said.get(CSRF_FIELD))
    except CrossSite as error:
        return refusal(visitor, error)
    sessions.sign_out(services, visitor)
    sessions.forget_cookie(request, response)
    return response


# --- for all pages ------------------------------------------------------------------------------


def sign_in_first(request: Request) -> Response:
    """Send somebody to the sign-in page, and back here afterwards."""
    where = request.url.path if request.method == "GET" else HOME
    return RedirectResponse(f"{HOME}/sign-in?next={_onward(where)}", HTTPStatus.SEE_OTHER)


def refusal(visitor: Visitor, error: DeepsweepError) -> Response:
    """Why something is not shown or not done, as a page."""
    return templates.page("refused", visitor, problem=str(error), status=problems.status_of(error))


def scope_refusal(visitor: Visitor, scope: Scope) -> Response | None:
    """The page that says which scope is missing; None where it is there."""
    try:
        visitor.check(scope)
    except DeepsweepError as error:
        return refusal(visitor, error)
    return None


def _onward(wanted: str | None) -> str:
    return wanted if wanted and _OURS.fullmatch(wanted) else HOME
