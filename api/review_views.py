"""Items in a reviewer's hands as the page is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api import media
from api.services import Services
from core.errors import QueueUnavailable
from core.vocabulary import ReviewSource
from db import review_queue
from db.crops import KeptCrop
from db.explanations import Progress
from db.review_sheets import Medium, Sheet

#: The order of the queue, for people.
_WORDS = {
    ReviewSource.REPORT: "reports of users",
    ReviewSource.ADJUDICATION: "differences between reviewers",
    ReviewSource.AUDIT: "the audit sample",
    ReviewSource.DISAGREEMENT: "differences between models",
    ReviewSource.UNCERTAIN: "uncertain items",
}


def sheet(shown: Sheet, services: Services, session_id: int) -> dict[str, Any]:
    """Everything that the page draws of one item, with links for that browser's session."""
    held = shown.assignment
    uri = services.uploads.shown(held.uri)
    return {
        "review_id": held.review_id,
        "item_id": held.item_id,
        "scan_id": str(held.scan_id),
        "uri": uri,
        "name": uri.rpartition("/")[2] or uri,
        "round": held.round,
        "source": held.source,
        "why": held.why,
        "place": place(held.source),
        "probability": shown.probability,
        "asked_at": shown.asked_at.isoformat(),
        "report": held.report,
        "verdict": held.verdict,
        "score": held.score,
        "model": held.model,
        "reason": shown.reason,
        "plan": shown.plan,
        "blur": held.blur,
        "lease_until": held.lease_until.isoformat(),
        "medium": _medium(shown.medium, held.item_id, services, session_id),
        "frames": list(shown.frames),
        "tracks": list(shown.tracks),
        "thresholds": shown.thresholds,
        "crop_margin": _first_view(shown.card.get("input", {})),
        "views": max(1, len(shown.card.get("input", {}).get("views", ()))),
        "limits": [str(limit) for limit in shown.card.get("limits", ())],
        "crops": [_crop(crop, services, session_id) for crop in shown.crops],
    }


def _first_view(given: Mapping[str, Any]) -> float:
    """The margin of the crop that people are shown, as `detector.spec.Input.shown` has it."""
    first: Mapping[str, Any] = next(iter(given.get("views", ())), {})
    return float(first.get("margin", given.get("crop_margin", 0.2)))


def place(source: ReviewSource) -> str:
    """Where things from a source stand in the queue, as a sentence."""
    order = [ReviewSource(word) for word in review_queue.RANKS]
    before = [_WORDS[each] for each in order[: order.index(source)]]
    if not before:
        return "These come before everything else, the oldest first."
    chance = source not in (ReviewSource.REPORT, ReviewSource.ADJUDICATION)
    within = "chance decides among them" if chance else "the oldest of them first"
    listed = ", ".join(before[:-1]) + " and " * (len(before) > 1) + before[-1]
    return f"These come after {listed}; {within}."


#: After so long a person wants to know what is waited for, seconds.
_WONDERS_S = 3.0


def explanation(
    progress: Progress, *, told: bool, services: Services, session_id: int
) -> dict[str, Any]:
    """How far an explanation is; `told` is whether the queue took word of it."""
    waits = not progress.done and progress.error is None and progress.waited_s > _WONDERS_S
    made = services.explanations.make(progress.id, session_id=session_id)
    link = made.path if progress.done else None
    return {
        "id": progress.id,
        "done": progress.done,
        "error": progress.error,
        "waited_s": progress.waited_s,
        "told": told,
        "before": progress.before,
        "workers": workers(services) if waits else None,
        "crop": link and f"{link}/crop.png",
        "heat": link and f"{link}/heat.png",
    }


def workers(services: Services) -> int | None:
    """How many workers live; None where nobody can say."""
    try:
        return len(services.pulses.all())
    except QueueUnavailable:
        return None


def _medium(medium: Medium, item_id: int, services: Services, session_id: int) -> dict[str, Any]:
    link = services.desk_media.make(item_id, session_id=session_id)
    return {
        "kind": medium.kind,
        "format": medium.format,
        "width": medium.width,
        "height": medium.height,
        "duration_s": medium.duration_s,
        "bytes": medium.size_bytes,
        "url": link.path,
        "until_s": link.until_s,
        "element": media.element(medium.format),
    }


def _crop(crop: KeptCrop, services: Services, session_id: int) -> dict[str, Any]:
    return {
        "track": crop.track,
        "frame_index": crop.frame_index,
        "face_index": crop.face_index,
        "score": crop.score,
        "width": crop.width,
        "height": crop.height,
        "area": list(crop.area),
        "url": services.crops.make(crop.id, session_id=session_id).path,
    }
