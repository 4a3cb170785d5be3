"""From the logits of faces to tracks, and from tracks to the verdict of an item.

This is the one place where logits are aggregated and where a threshold is applied. A track's
logit comes from its frames by the rule named in the card; an item is as fake as its most fake
track; an item without a usable face is `no_face`, never `real`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import ModelCorrupt
from core.vocabulary import MediaKind, Verdict
from detector.calibration import probability
from detector.faces import Face
from detector.spec import Card, Thresholds

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FaceScore:
    """One face of one frame, judged."""

    face: Face
    #: Number of the person's track within the item, from 0.
    track: int
    #: The network's output before calibration.
    logit: float
    #: Calibrated probability of fake, 0..1.
    score: float


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """One sampled frame with its faces; `score` is the highest face's, None without a face."""

    index: int
    pts_s: float
    score: float | None
    faces: tuple[FaceScore, ...]
    #: Index of the frame whose faces and scores these are, because it looks the same; None where
    #: the frame was looked at itself.
    same_as: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrackScore:
    """One person's faces over the frames."""

    track: int
    score: float
    #: How many frames show it.
    frames: int


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """An item's verdict; `score` is None exactly when the verdict is `no_face`."""

    verdict: Verdict
    score: float | None
    frames: tuple[FrameScore, ...]
    tracks: tuple[TrackScore, ...]
    #: One sentence that says what decided.
    reason: str


@dataclass(frozen=True, kw_only=True)
class RawFrame:
    """One sampled frame before judging: faces, their logits and their tracks, in one order."""

    index: int
    pts_s: float
    faces: tuple[Face, ...]
    logits: tuple[float, ...]
    tracks: tuple[int, ...]
    #: As in FrameScore.
    same_as: int | None = None

    def __post_init__(self) -> None:
        if not len(self.faces) == len(self.logits) == len(self.tracks):
            raise ValueError(
                f"one logit and one track for each face: got {len(self.faces)} faces, "
                f"{len(self.logits)} logits, {len(self.tracks)} tracks"
            )


def judge(kind: MediaKind, frames: Sequence[RawFrame], card: Card) -> Judgement:
    """The verdict of one item from the logits of all its faces."""
    of_face = card.calibration.image if kind is MediaKind.IMAGE else card.calibration.frame
    scored = tuple(_score_frame(frame, lambda z: probability(z, of_face)) for frame in frames)
    tracks = _score_tracks(kind, frames, card)
    thresholds = card.operating.image if kind is MediaKind.IMAGE else card.operating.video
    if not tracks:
        return Judgement(
            verdict=Verdict.NO_FACE,
            score=None,
            frames=scored,
            tracks=(),
            reason=f"no usable face in {_count(len(frames), 'frame')}",
        )
    top = max(tracks, key=lambda track: track.score)
    verdict = decide(top.score, thresholds)
    return Judgement(
        verdict=verdict,
        score=top.score,
        frames=scored,
        tracks=tracks,
        reason=_reason(verdict, top, len(tracks), thresholds),
    )


def decide(score: float, thresholds: Thresholds) -> Verdict:
    """Apply the operating point of a medium to a calibrated score."""
    if score >= thresholds.fake_from:
        return Verdict.FAKE
    if score < thresholds.real_below:
        return Verdict.REAL
    return Verdict.UNCERTAIN


def track_logit(logits: Logits, card: Card) -> float:
    """One logit for a track, from those of its frames, shape (n,), by the card's rule."""
    try:
        rule = RULES[card.aggregation.rule]
    except KeyError:
        raise ModelCorrupt(
            f"The card of {card.reference} names the unknown aggregation rule "
            f"{card.aggregation.rule!r}; known are {', '.join(sorted(RULES))}."
        ) from None
    return rule(logits, card.aggregation.parameter)


def _score_frame(frame: RawFrame, calibrate: Callable[[float], float]) -> FrameScore:
    faces = tuple(
        FaceScore(face=face, track=track, logit=logit, score=calibrate(logit))
        for face, logit, track in zip(frame.faces, frame.logits, frame.tracks, strict=True)
    )
    highest = max((face.score for face in faces), default=None)
    return FrameScore(
        index=frame.index,
        pts_s=frame.pts_s,
        score=highest,
        faces=faces,
        same_as=frame.same_as,
    )


def _score_tracks(
    kind: MediaKind, frames: Sequence[RawFrame], card: Card
) -> tuple[TrackScore, ...]:
    logits: dict[int, list[float]] = defaultdict(list)
    for frame in frames:
        for logit, track in zip(frame.logits, frame.tracks, strict=True):
            logits[track].append(logit)
    of_track = card.calibration.image if kind is MediaKind.IMAGE else card.calibration.track
    return tuple(
        TrackScore(
            track=track,
            score=probability(track_logit(np.asarray(values), card), of_track),
            frames=len(values),
        )
        for track, values in sorted(logits.items())
    )


def _reason(verdict: Verdict, top: TrackScore, tracks: int, thresholds: Thresholds) -> str:
    who = "the only person" if tracks == 1 else f"the most suspicious of {tracks} people"
    seen = f", track {top.track}, seen in {_count(top.frames, 'frame')}, scores {top.score:.2f}"
    limit = {
        Verdict.FAKE: f"at or above {thresholds.fake_from:.2f}",
        Verdict.REAL: f"below {thresholds.real_below:.2f}",
        Verdict.UNCERTAIN: (
            f"between {thresholds.real_below:.2f} and {thresholds.fake_from:.2f}: "
            "a person should look"
        ),
    }[verdict]
    return f"{who}{seen}, {limit}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"


# --- aggregation rules: logits of one track's frames (n,), n >= 1, and a parameter -> a logit ----


def _mean(logits: Logits, _: float) -> float:
    return float(logits.mean())


def _median(logits: Logits, _: float) -> float:
    return float(np.median(logits))


def _quantile(logits: Logits, share: float) -> float:
    return float(np.quantile(logits, share))


def _top_share(logits: Logits, share: float) -> float:
    """Mean of the highest `share` of the frames, at least one."""
    count = max(1, round(share * len(logits)))
    return float(np.sort(logits)[-count:].mean())


def _trimmed(logits: Logits, share: float) -> float:
    """Mean without the lowest and the highest `share` of the frames."""
    cut = int(share * len(logits))
    return float(np.sort(logits)[cut : len(logits) - cut].mean())


#: Named rules; which one a model uses was chosen on validation data and stands in its card.
RULES: Mapping[str, Callable[[Logits, float], float]] = {
    "mean": _mean,
    "median": _median,
    "quantile": _quantile,
    "top-share": _top_share,
    "trimmed-mean": _trimmed,
}
