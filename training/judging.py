"""Labelled media through the serving pipeline: what scanning would say of each.

Finding faces costs most of the time and does not depend on the weights. So it is done apart: the
crops that the network would see are kept on disk where a cache is given, and another model of the
same input, or the same one trained anew, is judged in a fraction of the time. It is the pipeline's
own analyzer that finds, tracks and crops; only its network is replaced by one that takes notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from core.errors import DeepsweepError
from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector.analyze import Analysis, Analyzer
from detector.decode import Broken, Decoded, Ended, Event, Opened
from detector.faces import FaceFinder
from detector.frames import Pixels, sample
from detector.media import Limits, probe
from detector.score import Scorer
from detector.spec import Card
from detector.verdict import Judgement, track_logit
from training.crops import Medium
from training.found import Found, FoundCache, Identity
from training.treatments import Treatment, treat

Logits = npt.NDArray[np.float64]

#: Crops that are scored together.
BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A labelled medium and what the pipeline made of it."""

    medium: Medium
    #: None when the medium could not be decoded.
    kind: MediaKind | None
    #: Logits by track, in frame order; empty without a face.
    tracks: tuple[Logits, ...]
    #: Logits by sampled frame that shows a face, in frame order.
    frames: tuple[Logits, ...] = ()
    #: Code of the error, "" without one.
    error: str = ""

    @property
    def fake(self) -> int:
        """1 for a labelled fake, else 0."""
        return int(self.medium.label == "fake")

    def logit(self, card: Card) -> float:
        """The item's logit: its highest track's by the card's rule. Needs a face."""
        return max(track_logit(logits, card) for logits in self.tracks)


def judge_media(
    media: Sequence[Medium],
    folder: Path,
    scorer: Scorer,
    *,
    plan: SamplingPlan = DEFAULT_PLAN,
    finder: FaceFinder | None = None,
    treatment: Treatment | None = None,
    cache: Path | None = None,
) -> Iterator[Judged]:
    """Each medium below `folder` once, through detection, crops, network and tracks.

    With a treatment, each medium that it applies to, treated. `cache` is a folder that keeps the
    crops.
    """
    found = find_faces(
        media, folder, scorer.card, plan=plan, finder=finder, treatment=treatment, cache=cache
    )
    for batch in _batches(found):
        yield from judge_found(batch, scorer)


def find_faces(
    media: Sequence[Medium],
    folder: Path,
    card: Card,
    *,
    plan: SamplingPlan = DEFAULT_PLAN,
    finder: FaceFinder | None = None,
    treatment: Treatment | None = None,
    cache: Path | None = None,
) -> Iterator[Found]:
    """The views of each medium's faces as the card's network would see them, with their tracks."""
    identity = Identity(spec=card.input, plan=plan, treatment=treatment)
    kept = FoundCache(cache, identity, folder) if cache else None
    missing = []
    for medium in media:
        known = kept.load(medium) if kept else None
        if known is None:
            missing.append(medium)
        else:
            yield known
    for found in _find(missing, folder, card, plan, finder, treatment):
        if kept:
            kept.save(found)
        yield found


def judge_found(found: Sequence[Found], scorer: Scorer) -> Iterator[Judged]:
    """The network's word on crops that were found before, those of all media in one batch."""
    crops = [one.crops for one in found if len(one.crops)]
    logits = scorer.score_faces(np.concatenate(crops)) if crops else np.empty(0)
    ends = np.cumsum([len(one.crops) for one in found])
    for one, end in zip(found, ends, strict=True):
        of_medium = logits[end - len(one.crops) : end]
        yield Judged(
            medium=one.medium,
            kind=one.kind,
            tracks=_grouped(of_medium, one.tracks),
            frames=_grouped(of_medium, one.frames),
            error=one.error,
        )


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Media with together at least `BATCH` crops; most have one or two."""
    waiting: list[Found] = []
    for one in found:
        waiting.append(one)
        if sum(len(each.crops) for each in waiting) >= BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _grouped(logits: Logits, numbers: npt.NDArray[np.int64]) -> tuple[Logits, ...]:
    return tuple(logits[numbers == number] for number in np.unique(numbers))


# --- finding --------------------------------------------------------------------------------------


class _Notes:
    """Stands in for the network: keeps each face's crops, and gives its number for a logit."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self._crops: dict[int, Pixels] = {}
        self._next = 0

    def score_faces(self, faces: Pixels) -> Logits:
        numbers = range(self._next, self._next + len(faces))
        self._next += len(faces)
        self._crops.update(zip(numbers, faces, strict=True))
        return np.array(numbers, np.float64)

    def take(self, numbers: Iterable[float]) -> Pixels:
        """The crops of the faces of these numbers, in this order; they are forgotten here."""
        spec = self.card.input
        crops = [self._crops.pop(int(number)) for number in numbers]
        none = np.empty((0, len(spec.shown), spec.size_px, spec.size_px, 3), np.uint8)
        return np.stack(crops) if crops else none


def _find(
    media: Sequence[Medium],
    folder: Path,
    card: Card,
    plan: SamplingPlan,
    finder: FaceFinder | None,
    treatment: Treatment | None,
) -> Iterator[Found]:
    if not media:
        return
    notes = _Notes(card)
    # The analyzer asks a scorer for its card and for one number a face, and nothing else.
    analyzer = Analyzer(
        finder or FaceFinder(), cast("Scorer", notes), frame_batch=16, face_batch=32
    )
    for outcome in analyzer.run(_events(media, folder, plan, treatment)):
        medium = media[int(str(outcome.key))]
        if isinstance(outcome, Analysis):
            yield _found(medium, outcome.info.kind, outcome.judgement, notes)
        else:
            yield Found.failed(medium, outcome.error.code)


def _found(medium: Medium, kind: MediaKind, judgement: Judgement, notes: _Notes) -> Found:
    faces = [
        (frame.index, face.track, face.logit) for frame in judgement.frames for face in frame.faces
    ]
    return Found(
        medium=medium,
        kind=kind,
        crops=notes.take(number for _, _, number in faces),
        frames=np.array([frame for frame, _, _ in faces], np.int64),
        tracks=np.array([track for _, track, _ in faces], np.int64),
    )


def _events(
    media: Iterable[Medium],
    folder: Path,
    plan: SamplingPlan,
    treatment: Treatment | None,
) -> Iterator[Event]:
    """As `detector.decode` gives them, one medium after the other in this process.

    A medium that the treatment does not apply to gives none.
    """
    limits = Limits()
    for key, medium in enumerate(media):
        try:
            with (folder / medium.path).open("rb") as untreated:
                file = treat(untreated, treatment, limits) if treatment else untreated
                if file is None:
                    continue
                info = probe(file, limits)
                yield Opened(key=key, info=info)
                for frame in sample(file, info, plan, limits):
                    yield Decoded(key=key, frame=frame)
        except DeepsweepError as error:
            yield Broken(key=key, error=error, fetch_s=0.0, decode_s=0.0)
        else:
            yield Ended(key=key, fetch_s=0.0, decode_s=0.0)
