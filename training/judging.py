"""Labelled media through the serving pipeline: what scanning would say of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import DeepsweepError
from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector.analyze import Analysis, Analyzer
from detector.decode import Broken, Decoded, Ended, Event, Opened
from detector.faces import FaceFinder
from detector.frames import sample
from detector.media import Limits, probe
from detector.score import Scorer
from detector.spec import Card
from detector.verdict import Judgement, track_logit
from training.crops import Medium

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A labelled medium and what the pipeline made of it."""

    medium: Medium
    #: None when the medium could not be decoded.
    kind: MediaKind | None
    #: Logits by track, in frame order; empty without a face.
    tracks: tuple[Logits, ...]
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
) -> Iterator[Judged]:
    """Each medium below `folder` once, through detection, crops, network and tracks."""
    analyzer = Analyzer(finder or FaceFinder(), scorer, frame_batch=16, face_batch=32)
    for outcome in analyzer.run(_events(media, folder, plan)):
        medium = media[int(str(outcome.key))]
        if isinstance(outcome, Analysis):
            tracks = tracks_of(outcome.judgement)
            yield Judged(medium=medium, kind=outcome.info.kind, tracks=tracks)
        else:
            yield Judged(medium=medium, kind=None, tracks=(), error=outcome.error.code)


def tracks_of(judgement: Judgement) -> tuple[Logits, ...]:
    """The logits of each track, in the order of tracks and frames."""
    logits: dict[int, list[float]] = defaultdict(list)
    for frame in judgement.frames:
        for face in frame.faces:
            logits[face.track].append(face.logit)
    return tuple(np.array(logits[track]) for track in sorted(logits))


def _events(media: Iterable[Medium], folder: Path, plan: SamplingPlan) -> Iterator[Event]:
    """As `detector.decode` gives them, one medium after the other in this process."""
    limits = Limits()
    for key, medium in enumerate(media):
        try:
            with (folder / medium.path).open("rb") as file:
                info = probe(file, limits)
                yield Opened(key=key, info=info)
                for frame in sample(file, info, plan, limits):
                    yield Decoded(key=key, frame=frame)
        except DeepsweepError as error:
            yield Broken(key=key, error=error, fetch_s=0.0, decode_s=0.0)
        else:
            yield Ended(key=key, fetch_s=0.0, decode_s=0.0)
