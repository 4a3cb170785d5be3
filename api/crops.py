"""Routes to kept faces, and the erasure of an item with everything that was made of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from api.item_schemas import ItemId
from api.problems import documented
from api.security import Caller, Reader, Scanner
from api.services import Given, Services
from core.vocabulary import CropReason, Verdict
from db import crops, erasure, items

router = APIRouter(tags=["items"], responses=documented(401, 403, 404, 422, 429, 503))

#: Faces of people: for the one who asked, and never to be run, framed or guessed at.
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=600",
}


class Crop(BaseModel):
    """One kept face of an item."""

    id: int
    track: int = Field(description="The person within the item.", ge=0)
    frame: int = Field(description="Position of its frame, from 0.", ge=0)
    pts_s: float = Field(description="Time of its frame, seconds.")
    score: float = Field(description="Probability of fake by the verdict below.", ge=0, le=1)
    verdict: Verdict = Field(description="What the item was judged to be when it was kept.")
    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 of the face in pixels of the frame."
    )
    width: int = Field(description="Of the picture, pixels.", ge=1)
    height: int = Field(ge=1)
    reason: CropReason = Field(description="Why it was kept.")
    probability: float = Field(description="With which probability it was kept.", gt=0, le=1)
    kept_at: datetime
    expires_at: datetime | None = Field(description="When it is deleted; null for never.")


class CropList(BaseModel):
    """The kept faces of one item."""

    crops: list[Crop]


class Removed(BaseModel):
    """How many of each went."""

    crops: int = Field(description="Pictures of faces, with their rows.", ge=0)
    copies: int = Field(
        default=0,
        description="Copies of these in the folders of training runs on the answering machine.",
        ge=0,
    )
    uploads: int = Field(
        default=0, description="Media that were uploaded here: their bytes are gone.", ge=0
    )
    verdicts: int = Field(ge=0)
    frames: int = Field(ge=0)
    tracks: int = Field(ge=0)
    faces: int = Field(description="Rows of single faces.", ge=0)
    explanations: int = Field(default=0, description="Pictures of where the model looked.", ge=0)
    reviews: int = Field(ge=0)
    labels: int = Field(description="What reviewers said of its persons.", ge=0)


class Left(BaseModel):
    """Something that is left of an item, and why."""

    kind: str = Field(
        description="`tombstone`, `audit_events`, `media_rows`, `medium`, `equal_bytes`, "
        "`model_versions` or `training_runs`.",
        examples=["equal_bytes"],
    )
    count: int = Field(ge=1)
    why: str = Field(examples=["Items of their own with the same bytes; erase each that is to go."])
    names: list[str] = Field(description="Which ones, at most 20.", examples=[["item 4712"]])


class Erased(BaseModel):
    """What became of an item."""

    model_config = ConfigDict(extra="forbid")

    item_id: int
    removed: Removed
    snapshots: dict[str, int] = Field(
        description="Examples that were lost, by the name of their snapshot: it keeps its hash, "
        "which is that of all of them.",
        examples=[{"week-47": 2}],
    )
    left: list[Left] = Field(description="What is left elsewhere, and why.")
    erased_at: datetime
    before: bool = Field(description="Whether an earlier request did it.")


@router.get("/v1/items/{item_id}/crops")
def list_crops(item_id: Annotated[ItemId, Path()], caller: Reader, services: Given) -> CropList:
    """The faces of an item that were kept, by person and time. Scope: `read`."""
    with services.database.transaction() as session:
        caller.check_owner(items.owner(session, item_id), f"There is no item {item_id}.")
        found = crops.of_item(session, item_id)
    return CropList(crops=[_shown(crop) for crop in found])


@router.get(
    "/v1/crops/{crop_id}",
    response_class=Response,
    responses={
        200: {"description": "The picture, PNG.", "content": {"image/png": {}}},
        **documented(502),
    },
)
def get_crop(crop_id: Annotated[ItemId, Path()], caller: Reader, services: Given) -> Response:
    """One kept face, lossless, with room around it. Scope: `read`."""
    with services.database.transaction() as session:
        crop = crops.get(session, crop_id)
        caller.check_owner(items.owner(session, crop.item_id), f"There is no kept crop {crop_id}.")
    data = crops.read(services.storage, crop)
    return Response(data, media_type="image/png", headers=_HEADERS)


@router.delete("/v1/items/{item_id}", responses=documented(409, 502))
def erase_item(item_id: Annotated[ItemId, Path()], caller: Scanner, services: Given) -> Erased:
    """Erase what is known of an item: verdicts, frames, faces, kept crops and copies of them,
    reviews, examples of snapshots, and its bytes if they were uploaded. The answer says how many of
    each went, and what is left elsewhere and why. Listing its scan again does not bring it back.
    Asked again, it says the same. Scope: `scan`."""
    done = _erase(services, caller, item_id)
    return Erased(
        item_id=item_id,
        removed=Removed(**done.removed),
        snapshots=dict(done.snapshots),
        left=[Left(**each.document()) for each in done.left],
        erased_at=done.erased_at,
        before=done.before,
    )


def _erase(services: Services, caller: Caller, item_id: int) -> erasure.Erased:
    return erasure.erase(
        services.database,
        erasure.Place.of(services.settings, services.storage),
        item_id,
        erasure.Actor(name=caller.key.name, api_key_id=caller.id),
        may=lambda owner_id: caller.check_owner(owner_id, f"There is no item {item_id}."),
    )


def _shown(crop: crops.KeptCrop) -> Crop:
    return Crop(
        id=crop.id,
        track=crop.track,
        frame=crop.frame_index,
        pts_s=crop.pts_s,
        score=crop.score,
        verdict=crop.verdict,
        box=crop.box_in_frame,
        width=crop.width,
        height=crop.height,
        reason=crop.reason,
        probability=crop.probability,
        kept_at=crop.created_at,
        expires_at=crop.expires_at,
    )
