"""Rows for tests of the database: a model, a scan with items, and results for them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.vocabulary import DEFAULT_PLAN, MediaKind, Verdict
from db import models, scans, verdicts
from db.scans import Claim, NewItem, ScanRequest

LANDMARKS = ((10.0, 10.0), (20.0, 10.0), (15.0, 15.0), (11.0, 20.0), (19.0, 20.0))
TIMINGS = verdicts.Timings(fetch=1.0, decode=2.0, detect=30.0, score=4.0)


def a_model(session: Session, number: int = 1) -> int:
    card = {"name": "sweep", "version": number}
    digest = hashlib.sha256(str(number).encode()).digest()
    return models.register(session, card, uri=f"file:///models/{number}", sha256=digest)


def a_request(session: Session, *sources: str, **changes: Any) -> ScanRequest:
    given: dict[str, Any] = {
        "sources": sources or ("file:///media",),
        "plan": DEFAULT_PLAN,
        "model_version_id": a_model(session),
    }
    return ScanRequest(**given | changes)


def a_scan(session: Session, *uris: str, **changes: Any) -> uuid.UUID:
    """A fresh scan, listed to its end, with these items."""
    scan, _ = scans.create_or_resume(session, a_request(session, **changes), fresh=True)
    scans.add_items(session, scan.id, [an_object(uri) for uri in uris])
    scans.finish_listing(session, scan.id)
    return scan.id


def an_object(uri: str, etag: str = "1", size: int = 100) -> NewItem:
    return NewItem(uri=uri, version=None, etag=etag, size=size)


def claim_all(
    session: Session, scan_id: uuid.UUID | None = None, worker: str = "w1", limit: int = 100
) -> list[Claim]:
    return scans.claim(session, scan_id, worker=worker, limit=limit, lease_s=60)


def a_face(score: float = 0.75, track: int = 0, left: float = 5.0) -> verdicts.NewFace:
    return verdicts.NewFace(
        box=(left, 6.0, left + 50.0, 60.0),
        landmarks=LANDMARKS,
        confidence=0.875,
        track=track,
        logit=1.5,
        score=score,
    )


def a_frame(*faces: verdicts.NewFace, index: int = 0) -> verdicts.NewFrame:
    highest = max((face.score for face in faces), default=None)
    return verdicts.NewFrame(index=index, pts_s=index / 25, score=highest, faces=faces)


def some_media(content: bytes = b"a picture", **changes: Any) -> verdicts.NewMedia:
    facts: Mapping[str, Any] = {
        "sha256": hashlib.sha256(content).digest(),
        "kind": MediaKind.IMAGE,
        "format": "jpeg",
        "width": 640,
        "height": 480,
        "duration_s": None,
        "size_bytes": len(content),
    }
    return verdicts.NewMedia(**{**facts, **changes})


def a_result(
    verdict: Verdict = Verdict.FAKE, score: float | None = 0.75, **changes: Any
) -> verdicts.NewResult:
    """One picture with one face."""
    given: dict[str, Any] = {
        "media": some_media(),
        "verdict": verdict,
        "score": score,
        "reason": "highest of 1 person",
        "frames": (a_frame(a_face(score or 0.0)),),
        "tracks": (verdicts.NewTrack(track=0, score=score or 0.0, frames=1),),
        "timings_ms": TIMINGS,
    }
    return verdicts.NewResult(**given | changes)


def no_face_result() -> verdicts.NewResult:
    return a_result(
        Verdict.NO_FACE, None, frames=(a_frame(),), tracks=(), reason="no usable face in 1 frame"
    )
