"""What the detector says, as rows; each item stands behind the fence of its claim."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from core.vocabulary import Verdict
from db import crops, verdicts
from db.crops import NewCrop
from db.keeping import REASONS, Draw, Keeping
from db.leases import Claim
from detector.analyze import Analysis, Failure
from detector.media import MediaInfo
from detector.verdict import FaceScore, FrameScore


def result_of(analysis: Analysis, *, sha256: bytes | None, size_bytes: int) -> verdicts.NewResult:
    """A judged item as rows to be."""
    judged = analysis.judgement
    return verdicts.NewResult(
        media=_media(analysis.info, sha256, size_bytes),
        verdict=judged.verdict,
        score=judged.score,
        reason=judged.reason,
        frames=tuple(_frame(frame) for frame in judged.frames),
        tracks=tuple(
            verdicts.NewTrack(track=track.track, score=track.score, frames=track.frames)
            for track in judged.tracks
        ),
        timings_ms=verdicts.Timings(**vars(analysis.timings_ms)),
    )


def record_crops(
    session: Session,
    claim: Claim,
    verdict: Verdict,
    kept: Sequence[NewCrop],
    *,
    keeping: Keeping,
    draw: Draw,
) -> None:
    """Write the rows of an item's crops behind its result, in the same transaction."""
    reason = REASONS[verdict]
    crops.keep(
        session,
        claim.item_id,
        claim.attempt,
        kept,
        reason=reason,
        probability=keeping.share(verdict, draw),
        days=keeping.days(reason),
    )


def record_failure(session: Session, claim: Claim, failure: Failure, *, max_attempts: int) -> bool:
    """Write why an item could not be judged; False when its claim was lost meanwhile."""
    return verdicts.record_failure(
        session,
        claim,
        code=failure.error.code,
        message=str(failure.error),
        transient=failure.error.transient,
        max_attempts=max_attempts,
    )


def _media(info: MediaInfo, sha256: bytes | None, size_bytes: int) -> verdicts.NewMedia:
    return verdicts.NewMedia(
        sha256=sha256,
        kind=info.kind,
        format=info.format,
        width=info.width,
        height=info.height,
        duration_s=info.duration_s,
        size_bytes=size_bytes,
    )


def _frame(frame: FrameScore) -> verdicts.NewFrame:
    return verdicts.NewFrame(
        index=frame.index,
        pts_s=frame.pts_s,
        score=frame.score,
        faces=tuple(_face(face) for face in frame.faces),
        same_as=frame.same_as,
    )


def _face(scored: FaceScore) -> verdicts.NewFace:
    return verdicts.NewFace(
        box=scored.face.box,
        landmarks=tuple((float(x), float(y)) for x, y in scored.face.landmarks),
        confidence=scored.face.confidence,
        track=scored.track,
        logit=scored.logit,
        score=scored.score,
    )
