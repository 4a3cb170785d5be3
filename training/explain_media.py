"""The faces of one medium explained: which ones, their pictures, and a page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from core.errors import UsageError
from core.vocabulary import MediaKind, SamplingPlan
from detector import artifact, views
from detector.calibration import probability
from detector.faces import FaceFinder
from detector.frames import Frame, Pixels, sample
from detector.grad_cam import grad_cam
from detector.media import Limits, probe
from detector.score import Scorer
from detector.spec import Card, Input, Platt
from training import explain, explain_pictures

#: Faces that a message names.
_NAMED = 12


@dataclass(frozen=True, kw_only=True)
class ScoredFace:
    """A face of the medium and what the model says of it."""

    #: Position of the frame, and seconds from the start.
    frame: int
    pts_s: float
    #: Number of the face within the frame, from 0.
    number: int
    #: Calibrated probability of fake, 0..1.
    score: float
    #: RGB uint8 (side, side, 3) as the network saw it: the first of its views.
    crop: Pixels

    @property
    def stem(self) -> str:
        """What the files of this face are called."""
        return f"frame{self.frame:05d}-face{self.number}"


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A face with the pictures that were written of it."""

    face: ScoredFace
    #: Caption -> file name in the folder.
    pictures: dict[str, str]
    #: Weighted R squared of LIME's linear model.
    lime_fit: float


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is explained."""

    #: Frames of a video, the most suspicious ones.
    frames: int = 3
    #: Faces in all, the most suspicious first.
    faces: int = 6
    #: Only this frame (its position in the medium), and only the face of this number.
    frame: int | None = None
    face: int | None = None
    lime_samples: int = explain.LIME_SAMPLES
    lime_segments: int = explain.LIME_SEGMENTS


def run(
    file: BinaryIO,
    title: str,
    model: Path,
    out: Path,
    *,
    plan: SamplingPlan,
    options: Options,
    limits: Limits,
    finder: FaceFinder,
    on_face: Callable[[ScoredFace], None] | None = None,
) -> list[Explained]:
    """Explain the faces of a medium into the folder `out`, with `index.html`; empty without one.

    Nothing is written then. Raises MediaError, ModelMissing, ModelCorrupt, UsageError, OSError.
    """
    module, card = artifact.load(model)
    scorer = Scorer(module, card)
    info = probe(file, limits)
    faces = list(score_faces(sample(file, info, plan, limits), info.kind, scorer, finder))
    chosen = choose(faces, options)
    if not chosen:
        return []
    out.mkdir(parents=True, exist_ok=True)
    explained = []
    for face in chosen:
        if on_face:
            on_face(face)
        explained.append(_explain(face, info.kind, scorer, module, out, options))
    (out / "index.html").write_text(_page(title, card, explained), encoding="utf-8")
    return explained


def score_faces(
    frames: Iterable[Frame], kind: MediaKind, scorer: Scorer, finder: FaceFinder
) -> Iterator[ScoredFace]:
    """Every face of the frames, one frame in memory at a time."""
    spec, platt = scorer.card.input, _platt(scorer, kind)
    for frame in frames:
        found = finder.find([frame.image])[0]
        if not found:
            continue
        seen = [views.cut(frame.image, face.box, spec) for face in found]
        logits = scorer.score_faces(np.stack(seen))
        for number, (logit, of_face) in enumerate(zip(logits, seen, strict=True)):
            yield ScoredFace(
                frame=frame.index,
                pts_s=frame.pts_s,
                number=number,
                score=probability(float(logit), platt),
                crop=of_face[0],
            )


def choose(faces: Iterable[ScoredFace], options: Options) -> list[ScoredFace]:
    """The highest scores of the frames with the highest scores, at most as many as asked for.

    Raises UsageError for a frame or a face that is not among them, with those that are.
    """
    found = list(faces)
    wanted = [face for face in found if options.frame in (None, face.frame)]
    wanted = [face for face in wanted if options.face in (None, face.number)]
    if found and not wanted:
        there = ", ".join(f"{face.frame}:{face.number}" for face in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise UsageError(f"There is no such face. Frames and faces found: {there}{more}.")
    by_score = sorted(wanted, key=lambda face: -face.score)
    frames = list(dict.fromkeys(face.frame for face in by_score))[: options.frames]
    return [face for face in by_score if face.frame in frames][: options.faces]


def _platt(scorer: Scorer, kind: MediaKind) -> Platt:
    calibration = scorer.card.calibration
    return calibration.image if kind is MediaKind.IMAGE else calibration.frame


def _probabilities(scorer: Scorer, kind: MediaKind) -> explain.ScoreCrops:
    """Of single crops: what one view alone would say."""
    platt = _platt(scorer, kind)

    def score(crops: Pixels) -> npt.NDArray[np.float64]:
        return np.array([probability(logit, platt) for logit in scorer.score(crops)])

    return score


def _explain(
    face: ScoredFace,
    kind: MediaKind,
    scorer: Scorer,
    module: explain.nn.Module,
    out: Path,
    options: Options,
) -> Explained:
    spec = scorer.card.input
    lime = explain.lime(
        _probabilities(scorer, kind),
        face.crop,
        samples=options.lime_samples,
        segments=options.lime_segments,
    )
    for_fake = grad_cam(module, face.crop, spec)
    for_real = grad_cam(module, face.crop, spec, towards_fake=False)
    pictures = {
        _what_is_seen(spec): explain_pictures.plain(face.crop),
        "Grad-CAM: speaks for fake": explain_pictures.heat(face.crop, for_fake),
        "Grad-CAM: speaks for real": explain_pictures.heat(face.crop, for_real),
        "LIME: red adds to fake, blue to real": explain_pictures.parts(face.crop, lime),
        "Maps of the first layer": explain_pictures.grid(
            explain.first_maps(module, face.crop, spec)
        ),
    }
    names = dict(
        zip(pictures, ("face", "gradcam-fake", "gradcam-real", "lime", "maps"), strict=True)
    )
    for caption, picture in pictures.items():
        names[caption] = f"{face.stem}-{names[caption]}.png"
        _write(out / names[caption], picture)
    return Explained(face=face, pictures=names, lime_fit=lime.fit)


def _what_is_seen(spec: Input) -> str:
    """Caption of the crop that all other pictures explain."""
    if len(spec.shown) == 1:
        return "What the network sees"
    return f"What the network sees: the first of {len(spec.shown)} views, margin {spec.shown[0]}"


def _write(path: Path, picture: Pixels) -> None:
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise OSError(f"{path} could not be written")


def _page(title: str, card: Card, explained: list[Explained]) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = files("training").joinpath("pages", "explain.html.j2").read_text(encoding="utf-8")
    template = environment.from_string(source)
    return template.render(title=title, card=card, explained=explained)
