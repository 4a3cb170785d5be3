"""A recipe: everything that decides what a training run does, read from a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import UsageError
from detector.spec import Input, faults

Share = Annotated[float, Field(ge=0.0, le=1.0)]

#: Recipes that come with deepsweep.
FOLDER = Path(__file__).parent / "recipes"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Part):
    """What is trained."""

    architecture: str
    #: Keyword arguments of the architecture's builder.
    options: dict[str, float | int | str | bool] = Field(default_factory=dict)
    #: File name of pretrained weights below the data folder, or `package:<package>` of those that
    #: come as a Python package (training/packaged.py); "" starts from random weights.
    pretrained: str = ""
    #: Whether BatchNorm's statistics follow what is trained on, or stay the pretrained ones: a few
    #: steps on other pictures would move them for everything that was learnt before.
    statistics: Literal["follow", "keep"] = Field(
        default="follow", exclude_if=lambda kept: kept == "follow"
    )


class Validation(_Part):
    """What is held out of the training set; never a part of the development set."""

    #: Sources held out whole.
    sources: tuple[str, ...] = ()
    #: Groups held out whole.
    groups: tuple[str, ...] = ()
    #: Share of the groups of every other source.
    share: Share = 0.1
    #: Of the draw of those groups; the recipe's own where none is named. A run that goes on from
    #: another's weights names that one's, or it would hold out what they were trained on.
    seed: int | None = Field(default=None, exclude_if=lambda seed: seed is None)
    #: Frames looked at in each video.
    frames: int = Field(default=8, ge=1)
    #: Which of the averages that were validated is kept. Where few clips are held out, the best of
    #: several noisy scores is a draw of luck, and the last, after the rate's decay, does better.
    keep: Literal["best", "last"] = "best"


class Batch(_Part):
    """What a step is made of."""

    #: Real crops, each with a fake made of it.
    pairs: int = Field(ge=0)
    #: Labelled fakes, each with a labelled real.
    labelled: int = Field(ge=0)
    #: Weight of each kind among the labelled fakes.
    kinds: dict[str, float] = Field(default_factory=dict)
    #: Share of real crops that are drawn from videos.
    video: Share = 0.35


class Synthesis(_Part):
    """How fakes are made of real crops."""

    #: Weight of each method of `training.synthesis.METHODS`, and of `redrawn`.
    methods: dict[str, float]
    #: Side of the picture that fakes are made at, pixels, and its margin around the face box.
    side_px: int = Field(default=224, ge=64)
    margin: float = Field(default=0.36, ge=0.0, le=0.6)


class Augmentation(_Part):
    """What is done alike to reals and fakes."""

    #: How often pictures are degraded, 0..1 of `training.degrade`.
    degrade: Share = 1.0
    #: Margins of the network's crop are drawn from here.
    margin: tuple[float, float] = (0.1, 0.3)
    #: Its centre is shifted by up to this share of its side.
    shift: Share = 0.03
    #: Pictures are turned by up to so many degrees, and stretched along each axis by up to
    #: exp(stretch).
    turn_deg: float = Field(default=0.0, ge=0, le=45)
    stretch: Share = 0.0
    #: How often light and colours are changed widely.
    recolour: Share = 0.0


class Triplet(_Part):
    """A first phase that learns by comparison: crops of one label near each other, others far."""

    #: Share of the steps; the others learn labels. The classifier rests meanwhile.
    share: Share
    #: How much farther a crop of the other label has to be than one of the same, between
    #: embeddings of length 1.
    margin: float = Field(default=0.2, gt=0, le=2)
    #: The layer whose input is the embedding, (n, channels).
    layer: str = "classifier"


class Distillation(_Part):
    """Learning from what finished networks say of a crop beside its label (arXiv 1503.02531)."""

    #: Folders of finished runs, below the folder that holds the run's own; the mean of their
    #: logits teaches. Their crops must have the size and the normalisation of this recipe.
    teachers: tuple[str, ...] = Field(min_length=1)
    #: Of the teachers' word; the labels have the rest.
    weight: Share = 0.5
    #: Logits of both sides are divided by it, so that more than the side of the border counts.
    temperature: float = Field(default=2.0, gt=0)


class Optimiser(_Part):
    """AdamW with warm-up, cosine decay and an average of the weights."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    steps: int = Field(ge=1)
    warm_up_steps: int = Field(ge=0)
    #: Each step the average keeps this share of itself.
    average: Share = 0.998
    #: Weight of the loss that ranks each fake above the real it was made of.
    ranking: float = Field(default=0.0, ge=0)
    #: Weight of the loss that asks an inner layer where a fake is foreign; 0 asks nothing.
    guidance: float = Field(default=0.0, ge=0)
    #: The layer that is asked; its map has a cell for each 16 pixels of the crop.
    guided_layer: str = "features.13"
    #: Labels become this far from 0 and 1.
    smoothing: Share = 0.0
    clip_norm: float = Field(default=5.0, gt=0)
    #: What is kept are the weights so far on the way back to those that the run started from: a
    #: network fine-tuned on a little more keeps what it knew (Wortsman et al., CVPR 2022, arXiv
    #: 2109.01903). Both must be of one network.
    kept_of_start: Share = Field(default=0.0, exclude_if=lambda share: not share)
    #: Each step goes down the slope that it finds this far uphill, so that flat valleys are
    #: preferred (SAM's rho: Foret et al., ICLR 2021, arXiv 2010.01412). It takes a second pass over
    #: the step's crops; 0 goes down the slope underfoot.
    sharpness: float = Field(default=0.0, ge=0, exclude_if=lambda radius: not radius)
    triplet: Triplet | None = Field(default=None, exclude_if=lambda phase: phase is None)
    distillation: Distillation | None = Field(
        default=None, exclude_if=lambda taught: taught is None
    )


class Recipe(_Part):
    """The whole file."""

    name: str
    document: str = ""
    seed: int = 0
    input: Input
    network: Network
    validation: Validation
    batch: Batch
    synthesis: Synthesis
    augmentation: Augmentation
    optimiser: Optimiser
    #: Steps between validations, each with a checkpoint.
    validate_every: int = Field(default=250, ge=1)

    @property
    def sha256(self) -> str:
        """Of the canonical JSON form without the views: runs with one hash train the same.

        Views decide how faces are scored once the weights are there; a finished run can be
        released again with others.
        """
        trained = self.model_dump_json(exclude={"input": {"views"}})
        return hashlib.sha256(trained.encode()).hexdigest()


def load(name_or_path: str | Path) -> Recipe:
    """A recipe by the name of a file in `training/recipes` or by path. Raises UsageError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise UsageError(f"There is no recipe {path}; known are {known}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The recipe {path} cannot be read: {error}.") from error
    except ValidationError as error:
        raise UsageError(f"The recipe {path} cannot be read. {faults(error)}.") from error
