"""The model's card: everything that must travel with the weights, and nobody retypes.

`card.json` beside `model.safetensors` is this structure in JSON. Serving reads input size, crop
margin, normalisation, calibration, aggregation and thresholds from here and from nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]

#: Faults that a message names; the rest are counted.
_NAMED = 5


#: What a model may be called.
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


#: Views that a face may be scored from: each costs as much as a face.
MOST_VIEWS = 16


class View(_Part):
    """One way to cut a face's crop."""

    #: Added to each side of the face box before squaring, as a share of the box's longer side.
    margin: float = Field(ge=0.0, le=2.0)
    #: Left and right changed places.
    mirrored: bool = False

    def __str__(self) -> str:
        return f"{self.margin:.0%}{' mirrored' if self.mirrored else ''}"


class Input(_Part):
    """What the network is given: an RGB crop, square, float32, NCHW."""

    #: Side of the square crop, pixels.
    size_px: int = Field(ge=16, le=1024)
    #: The margin of `View` that training validates with, and that faces are scored with where no
    #: views are named.
    crop_margin: float = Field(ge=0.0, le=2.0)
    #: A face's logit is the mean over these crops of it; none is one plain crop at `crop_margin`.
    #: The first, never mirrored, is what people are shown.
    views: tuple[View, ...] = Field(
        default=(), max_length=MOST_VIEWS, exclude_if=lambda views: not views
    )
    #: Subtracted per channel from values in 0..1.
    mean: tuple[float, float, float]
    #: Divided by per channel afterwards.
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        if len(set(self.views)) < len(self.views):
            raise ValueError("a view is named twice; the mean would count it twice")
        if self.views and self.views[0].mirrored:
            raise ValueError("the first view is what people are shown; name a plain one first")
        return self

    @property
    def shown(self) -> tuple[View, ...]:
        """The crops that a face is scored from, at least one."""
        return self.views or (View(margin=self.crop_margin),)


class Platt(_Part):
    """Logistic calibration of a logit z: probability = sigmoid(slope * z + offset) (Platt 1999)."""

    slope: float = Field(gt=0)
    offset: float


class Calibration(_Part):
    """One map for each kind of evidence, because their logits spread differently.

    A probability needs a base rate. Labelled media come in whatever mixture they were collected in,
    which says nothing of the media of a scan, so it is stated here instead of taken from them.
    """

    #: Share of fakes among the media that probabilities speak of; where another share is known,
    #: `detector.calibration.restated` gives the probability there.
    prior_fake: float = Field(default=0.5, gt=0.0, lt=1.0)
    #: A face of a still picture.
    image: Platt
    #: A face in one frame of a video.
    frame: Platt
    #: A track, after aggregation over its frames.
    track: Platt


class Aggregation(_Part):
    """How the logits of one track's frames become the track's logit."""

    #: Name in `detector.verdict.RULES`.
    rule: str
    #: The rule's single parameter (quantile, share, ...); ignored by rules that have none.
    parameter: float = 0.0


class Thresholds(_Part):
    """Operating point of one medium. Between the two lies `uncertain`."""

    #: Scores from here up are `fake`.
    fake_from: Probability
    #: Scores below this are `real`.
    real_below: Probability
    #: Share of real media that reached `fake_from` when it was set.
    false_positive_rate: Probability
    #: Upper end of its 95% confidence interval.
    false_positive_rate_upper: Probability
    #: How many real media it was set on.
    real_media: int = Field(ge=0)


class Operating(_Part):
    """Thresholds per medium."""

    image: Thresholds
    video: Thresholds


class DataSource(_Part):
    """A source that the weights were trained on, and its terms."""

    source: str
    licence: str
    real: int = Field(ge=0)
    fake: int = Field(ge=0)


class Training(_Part):
    """How to make the same weights again."""

    recipe: str
    snapshot: str
    snapshot_sha256: str
    seed: int
    code_version: str
    machine: str
    hours: float = Field(ge=0)
    steps: int = Field(ge=0)
    data: tuple[DataSource, ...]


class Figure(_Part):
    """One measured number with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Evaluation(_Part):
    """Figures on one evaluation set, or on one source of it."""

    #: Name of the set, e.g. `dev`.
    on: str
    #: `image` or `video`.
    medium: Literal["image", "video"]
    #: All, or the name of one source.
    source: str
    real: int = Field(ge=0)
    fake: int = Field(ge=0)
    #: Media of this set without a usable face; they are not in the figures.
    no_face: int = Field(default=0, ge=0)
    #: auc, accuracy, recall_at_fpr_1, recall_at_fpr_5, log_loss, calibration_error, ...
    figures: dict[str, Figure]


class Card(_Part):
    """The whole card. `name@version` is how verdicts name the model."""

    format: Literal[1] = 1
    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    #: Name in `detector.architectures`.
    architecture: str
    #: Keyword arguments of the architecture's builder.
    options: dict[str, float | int | str | bool] = Field(default_factory=dict)
    parameters: int = Field(ge=1)
    input: Input
    calibration: Calibration
    aggregation: Aggregation
    operating: Operating
    training: Training
    evaluations: tuple[Evaluation, ...] = ()
    #: Sentences: what this model cannot tell.
    limits: tuple[str, ...] = ()
    #: Terms under which the training data stand.
    terms: str = ""
    weights_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def reference(self) -> str:
        """`name@version`, as verdicts carry it."""
        return f"{self.name}@{self.version}"


def faults(error: ValidationError) -> str:
    """What of a card or a recipe does not fit, as `field: rule; ...`, for the message of an error.

    No values: they are the file's, and may be long.
    """
    found = [
        ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
        for each in error.errors(include_url=False, include_input=False)
    ]
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more
