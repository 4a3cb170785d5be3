"""The recipe of a published system: what its document says of its training, as values.

`training.recipe` describes the one way in which the shipped model is trained. A published system
trains in epochs and phases, each with its own loss, optimiser, schedule and stopping rule; all of
that is in its file in `training/recipes`. Where the document is silent the file decides, and says
so under `assumed`.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import UsageError
from detector.architectures import Option
from detector.spec import Input, faults
from training import recipe
from training.losses import Mining
from training.recipe import FOLDER, Share, Validation

#: The recipe of the shipped model.
SHIPPED = "default"
Rate = Annotated[float, Field(gt=0)]
#: A figure that decides when to stop, and which epoch is kept.
Monitor = Literal["loss", "accuracy"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Part):
    """What an epoch is made of."""

    #: What the authors trained on, in a sentence.
    document: str
    #: `labelled`: reals and fakes by their label. `self-blended`: each real and a fake made of it
    #: on the spot. `both`: half of the fakes this way, half that way.
    source: Literal["labelled", "self-blended", "both"] = "labelled"
    #: Share of fakes. The smaller class is repeated until it holds.
    fakes: float = Field(default=0.5, gt=0, lt=1)
    #: At most so many evenly spaced frames of each video.
    frames: int = Field(default=5, ge=1)


class Augmentation(_Part):
    """What is done to training crops. Amounts are the ends of uniform ranges around none."""

    #: How often a crop is mirrored left to right.
    mirror: Share = 0.0
    #: Added to all values, as a share of the full range.
    brightness: Share = 0.0
    #: Factors of 1 - this to 1 + this, around the mean grey.
    contrast: Share = 0.0
    #: Factors of 1 - this to 1 + this, around each pixel's grey.
    saturation: Share = 0.0
    #: Degrees to either side.
    rotation_deg: float = Field(default=0.0, ge=0.0, le=180.0)
    #: Factors of 1 - this to 1 + this.
    zoom: Share = 0.0
    #: Social media's degradations (`training.degrade`): how often they are applied.
    degrade: Share = 0.0


class Network(_Part):
    """What is trained, and from where it starts."""

    architecture: str
    #: Keyword arguments of the architecture's builder.
    options: dict[str, Option] = Field(default_factory=dict)
    #: safetensors below the data folder for the architecture's backbone; "" for none.
    pretrained: str = ""
    #: Members of an ensemble and the recipes whose runs trained them.
    members: dict[str, str] = Field(default_factory=dict)


class CrossEntropy(_Part):
    """Of the label under the score."""

    kind: Literal["cross-entropy"]


class Triplet(_Part):
    """Of embeddings, for networks that have them."""

    kind: Literal["triplet"]
    mining: Mining
    margin: Rate


class Optimiser(_Part):
    """How weights move. Weight decay is L2: a part of the gradient."""

    kind: Literal["adam", "sgd", "rmsprop"]
    learning_rate: Rate
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    #: Parameters, or parts of the network, that are decayed; "" is all of it.
    decayed: tuple[str, ...] = ("",)


class Schedule(_Part):
    """How the learning rate falls: by `factor` each time, never below `floor`."""

    factor: float = Field(default=0.1, gt=0, lt=1)
    #: After each so many epochs of the phase; 0 for never (torch's StepLR).
    every_epochs: int = Field(default=0, ge=0)
    #: After so many epochs of the whole run.
    at_epochs: tuple[int, ...] = ()
    #: Once, when validation first reaches this accuracy.
    at_accuracy: tuple[Share, ...] = ()
    floor: float = Field(default=0.0, ge=0.0)


class Stop(_Part):
    """When a phase ends before its last epoch, and which of its epochs is kept."""

    #: The validation figure that counts.
    monitor: Monitor = "loss"
    #: Epochs without a better figure after which the phase ends; 0: it never ends early.
    patience: int = Field(default=0, ge=0)
    #: A figure is better by more than this.
    min_delta: float = Field(default=0.0, ge=0.0)
    #: Ends the phase when validation reaches this accuracy; 0 for never.
    target_accuracy: Share = 0.0
    #: Weights of the best epoch, or of the last.
    keep: Literal["best", "last"] = "best"


class Phase(_Part):
    """Epochs with one loss."""

    name: str
    epochs: int = Field(ge=1)
    #: Crops in a step.
    batch: int = Field(ge=2)
    #: At most so many steps in an epoch; 0: all of it.
    steps: int = Field(default=0, ge=0)
    loss: CrossEntropy | Triplet = Field(discriminator="kind")
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    stop: Stop = Stop()
    #: Parts of the network that are trained, "" for all; empty: as the architecture is built.
    trainable: tuple[str, ...] = ()


class Search(_Part):
    """A random search around the recipe; ranges are uniform."""

    trials: int = Field(ge=1)
    #: Share of the training groups that a trial sees.
    fraction: float = Field(gt=0, le=1)
    learning_rate: tuple[float, float]
    weight_decay: tuple[float, float]
    dropout: tuple[float, float]
    batch: tuple[int, ...]


def _shipped_validation() -> Validation:
    return recipe.load(SHIPPED).validation


class Published(_Part):
    """The whole file."""

    name: str
    document: str
    seed: int = 0
    #: Figures that the document prints for it, and what they were measured on.
    reported: dict[str, float] = Field(default_factory=dict)
    reported_on: str = ""
    #: What the document leaves open and this file decides, in sentences.
    assumed: tuple[str, ...] = ()
    data: Data
    #: What is held out; where the file does not say, and none of ours does, what the shipped model
    #: holds out, so that systems are compared on the same media.
    validation: Validation = Field(default_factory=_shipped_validation)
    input: Input
    augmentation: Augmentation = Augmentation()
    network: Network
    phases: tuple[Phase, ...] = Field(min_length=1)
    search: Search | None = None

    @model_validator(mode="after")
    def _scores_at_the_end(self) -> Self:
        if self.phases[-1].loss.kind != "cross-entropy":
            raise ValueError("the last phase has to train the score: cross-entropy")
        return self

    @property
    def sha256(self) -> str:
        """Of the canonical JSON form without the views, as `Recipe.sha256` has it."""
        trained = self.model_dump_json(exclude={"input": {"views"}})
        return hashlib.sha256(trained.encode()).hexdigest()


def within(
    system: Published,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
) -> Published:
    """The recipe with at most so many epochs a phase, steps an epoch and crops a step.

    For comparing systems on one budget, and for machines that do not hold a document's batch; the
    batches that a search draws from are held to it as well.
    """
    phases = [
        phase.model_copy(
            update={
                "epochs": min(phase.epochs, epochs or phase.epochs),
                "steps": min(phase.steps or steps or 0, steps or phase.steps),
                "batch": min(phase.batch, batch or phase.batch),
            }
        )
        for phase in system.phases
    ]
    search = system.search
    if search and batch:
        sizes = dict.fromkeys(min(size, batch) for size in search.batch)
        search = search.model_copy(update={"batch": tuple(sizes)})
    return system.model_copy(update={"phases": tuple(phases), "search": search})


def names() -> list[str]:
    """The published systems that have a recipe, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if "phases" in _read(path))


def load(name_or_path: str | Path) -> Published:
    """A recipe by the name of a file in `training/recipes` or by path. Raises UsageError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    try:
        return Published.model_validate(_read(path))
    except FileNotFoundError:
        raise UsageError(
            f"There is no recipe {path}; published systems are {', '.join(names())}."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The recipe {path} cannot be read: {error}.") from error
    except ValidationError as error:
        raise UsageError(f"The recipe {path} cannot be read. {faults(error)}.") from error


def is_published(name_or_path: str | Path) -> bool:
    """Whether the recipe of that name or path trains in phases, and not as `training.recipe` says.

    False as well where there is no such file or it is no TOML: who loads it says so.
    """
    path = Path(name_or_path)
    path = path if path.suffix == ".toml" else FOLDER / f"{name_or_path}.toml"
    try:
        return "phases" in _read(path)
    except (OSError, tomllib.TOMLDecodeError):
        return False


def _read(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))
