"""What the item page asks: the next item, a judgement, skip and undo, and why a face scored so.

For scripts of our own pages alone: a session's cookie, and the page's token with all that changes
something. Not part of the API that is described and kept stable.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api import media, review_views
from api.item_schemas import ItemId
from api.services import Given, Services
from api.sessions import Reviewing, Viewing, Visitor
from core.vocabulary import Label
from db import crops, explanations, review_queue, review_sheets, reviews

router = APIRouter(prefix="/review", include_in_schema=False)

ReviewId = Annotated[ItemId, Path()]
Answer = dict[str, Any]
#: A link's signature opens one thing for minutes; nobody else is to keep it.
_PRIVATE = {
    "Cache-Control": "private, max-age=600",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Judgement(_Said):
    """What a reviewer says of each person."""

    labels: dict[Annotated[int, Field(ge=0, le=32_767)], Label] = Field(max_length=1_000)
    remark: str | None = Field(default=None, max_length=2_000, pattern=r"^[^\x00]*$")


class Asked(_Said):
    """Which face is to be explained."""

    frame: int = Field(ge=0, le=(1 << 31) - 1)
    face: int = Field(ge=0, le=32_767)


# --- items --------------------------------------------------------------------------------------


@router.post("/next")
def next_item(visitor: Reviewing, services: Given) -> Answer:
    """One more item for this reviewer; null where none waits for him."""
    with services.database.transaction() as session:
        found = review_queue.claim_next(session, visitor.reviewer)
        item = None if found is None else _shown(session, services, visitor, found.review_id)
    return {"item": item}


@router.get("/standing")
def standing(visitor: Reviewing, services: Given) -> Answer:
    """How much waits for this reviewer, and how much of it was done."""
    with services.database.transaction() as session:
        waiting = review_queue.waiting_for(session, visitor.reviewer)
        today = review_sheets.judged_today(session, visitor.reviewer)
        held = len(review_queue.held(session, visitor.reviewer))
    return {"waiting": sum(waiting.values()), "held": held, "today": today}


@router.get("/held")
def held_items(visitor: Reviewing, services: Given) -> Answer:
    """What the reviewer has in hands, as after the page is loaded anew."""
    with services.database.transaction() as session:
        found = review_queue.held(session, visitor.reviewer)
        items = [_shown(session, services, visitor, each.review_id) for each in found]
    return {"items": items}


@router.get("/{review_id}/sheet")
def one_item(review_id: ReviewId, visitor: Reviewing, services: Given) -> Answer:
    """An item in the reviewer's hands, with fresh links."""
    with services.database.transaction() as session:
        return {"item": _shown(session, services, visitor, review_id)}


@router.post("/{review_id}/judgement")
def judge(review_id: ReviewId, said: Judgement, visitor: Reviewing, services: Given) -> Answer:
    """What the reviewer says of each person in an item in his hands."""
    with services.database.transaction() as session:
        made = reviews.judge(
            session, visitor.reviewer, review_id, said.labels, remark=said.remark or None
        )
    return {"review_id": made.review_id, "next_round": made.next_round}


@router.post("/{review_id}/skip")
def skip(review_id: ReviewId, visitor: Reviewing, services: Given) -> Answer:
    """Leave an item to others."""
    with services.database.transaction() as session:
        review_queue.skip(session, visitor.reviewer, review_id)
    return {"review_id": review_id}


@router.post("/{review_id}/keep")
def keep(review_id: ReviewId, visitor: Reviewing, services: Given) -> Answer:
    """Go on looking at an item; says whether it is still the reviewer's."""
    with services.database.transaction() as session:
        kept = review_queue.extend(session, visitor.reviewer, review_id)
    return {"kept": kept}


@router.post("/undo")
def undo(visitor: Reviewing, services: Given) -> Answer:
    """Take back the last judgement or skip; the item is in the reviewer's hands again."""
    with services.database.transaction() as session:
        found = reviews.undo(session, visitor.reviewer)
        return {"item": _shown(session, services, visitor, found.review_id)}


@router.post("/release")
def release(visitor: Reviewing, services: Given) -> Answer:
    """Hand everything back that the reviewer holds."""
    with services.database.transaction() as session:
        return {"released": review_queue.release(session, visitor.reviewer)}


# --- why a face scored so -----------------------------------------------------------------------


@router.post("/{review_id}/explanations")
def explain(
    review_id: ReviewId,
    asked: Asked,
    visitor: Reviewing,
    services: Given,
) -> Answer:
    """Ask a worker for the Grad-CAM of a face; asked again it is told again."""
    with services.database.transaction() as session:
        verdict_id = review_sheets.held_verdict(session, visitor.reviewer, review_id)
        progress = explanations.ask(session, verdict_id, asked.frame, asked.face)
    told = progress.done or services.hints.explain(progress.id)
    return review_views.explanation(
        progress, told=told, services=services, session_id=visitor.signed_in.id
    )


@router.get("/{review_id}/explanations/{explanation_id}")
def explanation(
    review_id: ReviewId,
    explanation_id: Annotated[ItemId, Path()],
    visitor: Reviewing,
    services: Given,
) -> Answer:
    """How far it is."""
    with services.database.transaction() as session:
        verdict_id = review_sheets.held_verdict(session, visitor.reviewer, review_id)
        progress = explanations.progress(session, verdict_id, explanation_id)
    return review_views.explanation(
        progress, told=True, services=services, session_id=visitor.signed_in.id
    )


@router.get("/explanations/{token}/{part}.png")
def explanation_picture(
    token: Annotated[str, Path(max_length=120)],
    part: Annotated[str, Path(pattern="^(crop|heat)$")],
    signed_in: Viewing,
    services: Given,
) -> Response:
    """What a signed link leads to: the face, or the face under its Grad-CAM."""
    number = services.explanations.item_of(token, session_id=signed_in.id)
    with services.database.transaction() as session:
        crop, heat = explanations.pictures(session, number)
    return Response(crop if part == "crop" else heat, media_type="image/png", headers=_PRIVATE)


@router.get("/crops/{token}")
def kept_crop(
    token: Annotated[str, Path(max_length=120)], signed_in: Viewing, services: Given
) -> Response:
    """What a signed link leads to: a face as it was kept."""
    number = services.crops.item_of(token, session_id=signed_in.id)
    with services.database.transaction() as session:
        crop = crops.get(session, number)
    picture = crops.read(services.storage, crop)
    return Response(picture, media_type="image/png", headers=_PRIVATE)


@router.get("/media/{token}")
def medium(
    token: Annotated[str, Path(max_length=120)],
    signed_in: Viewing,
    services: Given,
    range: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """What a signed link leads to: the object as it was judged, or a range of it."""
    return media.send(services, services.desk_media.item_of(token, session_id=signed_in.id), range)


def _shown(session: Session, services: Services, visitor: Visitor, review_id: int) -> Answer:
    found = review_sheets.sheet(session, visitor.reviewer, review_id)
    return review_views.sheet(found, services, visitor.signed_in.id)
