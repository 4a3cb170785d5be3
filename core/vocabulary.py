"""The words of deepsweep, spelled the same in code, tables, API and documents.

Nothing here does any work: enumerations, and the sampling plan that a scan is asked for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from core.errors import BadSamplingPlan


class Verdict(enum.StrEnum):
    """What an item, a track or a face is judged to be. Fake is the positive class."""

    #: The score reaches the threshold that was set at a stated false-positive rate.
    FAKE = "fake"
    #: The score stays under the lower threshold.
    REAL = "real"
    #: The score lies in the abstaining band: a person should look.
    UNCERTAIN = "uncertain"
    #: No usable face was found. Never to be read as `real`.
    NO_FACE = "no_face"


class EngineChoice(enum.StrEnum):
    """Which library runs the networks. Each is checked against `exact` when a network is loaded."""

    #: The fastest that passes the check: OpenVINO on a CPU where it is installed, else PyTorch.
    AUTO = "auto"
    #: PyTorch, in half precision where that is faster and passes the check.
    TORCH = "torch"
    #: OpenVINO on the CPU; PyTorch where it is not installed or does not pass the check.
    OPENVINO = "openvino"
    #: PyTorch in float32: what the others are held against.
    EXACT = "exact"


class ItemStatus(enum.StrEnum):
    """Where one media object of a scan stands."""

    #: Waiting for a worker.
    QUEUED = "queued"
    #: A worker holds a lease on it.
    LEASED = "leased"
    #: It has a verdict.
    DONE = "done"
    #: It has an error code and a sentence, and no verdict.
    FAILED = "failed"
    #: Its scan was cancelled before a worker took it.
    CANCELLED = "cancelled"


class ScanState(enum.StrEnum):
    """Where one request for a scan stands."""

    #: Its sources are still being listed.
    EXPANDING = "expanding"
    #: Every item is known; some have no result yet.
    RUNNING = "running"
    #: Every item has a result.
    FINISHED = "finished"
    #: A person stopped it.
    CANCELLED = "cancelled"


class Priority(enum.StrEnum):
    """Which queue an item waits in."""

    #: Somebody is watching: overtakes bulk work.
    INTERACTIVE = "interactive"
    #: Everything else.
    BULK = "bulk"


class MediaKind(enum.StrEnum):
    """How an item is sampled."""

    #: One frame.
    IMAGE = "image"
    #: Several frames with times: a video file or an animated image.
    VIDEO = "video"


class PlanKind(enum.StrEnum):
    """How frames are chosen from a video."""

    #: N frames at the middles of N equal parts of the duration.
    UNIFORM = "uniform"
    #: One frame each so many seconds, from the start (Salpekar: every 2 s).
    EVERY = "every"
    #: N frames drawn without replacement with a seed (Che & Ingham: 5).
    RANDOM = "random"
    #: Of N equal parts of the duration the keyframe nearest to the middle, which is the cheapest to
    #: decode; none of a part without one, or its middle where the film has fewer than four.
    KEYFRAMES = "keyframes"
    #: A few frames first, and more of them only while the verdict is uncertain: up to N, which are
    #: those of `uniform:N`.
    ADAPTIVE = "adaptive"


class VerdictRole(enum.StrEnum):
    """Why a model version judged an item."""

    #: It is the model of the scan: this is the item's verdict.
    SCAN = "scan"
    #: A challenger looked along; the item's verdict is not touched.
    SHADOW = "shadow"
    #: Kept crops were scored again later.
    RESCORE = "rescore"


class ModelState(enum.StrEnum):
    """Where a model version stands."""

    #: Registered, and not (yet) in use.
    CHALLENGER = "challenger"
    #: Scans use it when they name no model; there is at most one.
    CHAMPION = "champion"
    #: Out of use; its verdicts stay.
    RETIRED = "retired"


class RunState(enum.StrEnum):
    """Where a training run stands."""

    #: Waiting for the trainer.
    QUEUED = "queued"
    #: A trainer is at it.
    RUNNING = "running"
    #: It made a model version.
    SUCCEEDED = "succeeded"
    #: A check refused its data or a person stopped it; the reason is a sentence.
    STOPPED = "stopped"
    #: It broke.
    FAILED = "failed"


class Split(enum.StrEnum):
    """Which part of a snapshot an example belongs to."""

    #: Weights are fitted on it.
    TRAIN = "train"
    #: Rules, calibration and thresholds are chosen on it.
    VALIDATION = "validation"
    #: Figures are reported on it, and nothing is chosen.
    TEST = "test"
    #: Fixed over all model versions: nothing may get worse on it.
    GOLDEN = "golden"


class Label(enum.StrEnum):
    """What a person says a track shows."""

    #: An unaltered face.
    REAL = "real"
    #: A generated or altered face.
    FAKE = "fake"
    #: Not to be told from this material.
    UNSURE = "unsure"
    #: The box shows no face.
    NO_FACE = "no_face"


class CropReason(enum.StrEnum):
    """Why a face crop was kept."""

    #: Its item's verdict is `uncertain`.
    UNCERTAIN = "uncertain"
    #: Its item's verdict is `fake`.
    FAKE = "fake"
    #: Drawn at random among the items judged `real`.
    AUDIT = "audit"
    #: A user said that the verdict is wrong.
    REPORT = "report"
    #: Brought in with a labelled data set.
    IMPORT = "import"


class ReviewSource(enum.StrEnum):
    """Why a person is asked to look."""

    #: A user said that the verdict is wrong.
    REPORT = "report"
    #: Champion and challenger differ.
    DISAGREEMENT = "disagreement"
    #: The score lies in the abstaining band.
    UNCERTAIN = "uncertain"
    #: Drawn at random with a known probability.
    AUDIT = "audit"
    #: Two reviewers differ.
    ADJUDICATION = "adjudication"


class ReviewState(enum.StrEnum):
    """Where a request for a person's judgement stands."""

    #: Waiting for a reviewer.
    OPEN = "open"
    #: A reviewer holds it.
    LEASED = "leased"
    #: Its tracks are labelled.
    JUDGED = "judged"
    #: No longer needed: the item is gone or was judged otherwise.
    WITHDRAWN = "withdrawn"


class DeliveryState(enum.StrEnum):
    """Where a callback stands."""

    #: Not yet accepted by its receiver.
    PENDING = "pending"
    #: The receiver answered 2xx.
    DELIVERED = "delivered"
    #: Given up after the last attempt.
    ABANDONED = "abandoned"


class Scope(enum.StrEnum):
    """What an API key may do."""

    #: Start, cancel and retry scans.
    SCAN = "scan"
    #: Read scans and results.
    READ = "read"
    #: Judge items.
    REVIEW = "review"
    #: Everything, keys and models included.
    ADMIN = "admin"


#: No plan takes more frames of one item than this, so that one item cannot starve the others.
MAX_FRAMES_PER_ITEM = 512


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """Which frames of a video are looked at.

    The text forms are `uniform:N`, `every:SECONDS`, `random:N[:SEED]`, `keyframes:N` and
    `adaptive:FIRST-MOST`; `str(plan)` gives the canonical text back, which is what tables and
    reports carry.
    """

    kind: PlanKind
    #: Number of frames, for `adaptive` the most; None for `every`.
    count: int | None = None
    #: Frames that are looked at first; only for `adaptive`.
    first: int | None = None
    #: Seconds between frames; only for `every`.
    period_s: float | None = None
    #: Seed of the draw; only for `random`.
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> SamplingPlan:
        """Read a plan from its text form. Raises BadSamplingPlan with a sentence."""
        word, _, argument = text.strip().partition(":")
        try:
            kind = _kind(word)
            if kind is PlanKind.EVERY:
                return cls(kind=kind, period_s=_period(argument))
            if kind is PlanKind.ADAPTIVE:
                return cls._adaptive(argument)
            count_text, _, seed_text = argument.partition(":")
            if seed_text and kind is not PlanKind.RANDOM:
                raise ValueError(f"{kind} takes no seed")
            return cls(kind=kind, count=_count(count_text), seed=_seed(seed_text or "0"))
        except ValueError as error:
            raise BadSamplingPlan(
                f"{text!r} is not a sampling plan ({error}); use uniform:16, every:2, "
                "random:5, random:5:7 (with a seed), keyframes:8 or adaptive:8-32."
            ) from None

    @classmethod
    def _adaptive(cls, argument: str) -> SamplingPlan:
        first_text, _, most_text = argument.partition("-")
        first, most = _count(first_text), _count(most_text)
        if first >= most:
            raise ValueError("the first number is the smaller one")
        return cls(kind=PlanKind.ADAPTIVE, first=first, count=most)

    @property
    def at_once(self) -> SamplingPlan:
        """The plan of all frames that this one may take, in the order of their times."""
        if self.kind is PlanKind.ADAPTIVE:
            return SamplingPlan(kind=PlanKind.UNIFORM, count=self.count)
        return self

    def __str__(self) -> str:
        if self.kind is PlanKind.EVERY:
            return f"{self.kind}:{self.period_s:g}"
        if self.kind is PlanKind.ADAPTIVE:
            return f"{self.kind}:{self.first}-{self.count}"
        if self.kind is PlanKind.RANDOM and self.seed:
            return f"{self.kind}:{self.count}:{self.seed}"
        return f"{self.kind}:{self.count}"


def _kind(word: str) -> PlanKind:
    try:
        return PlanKind(word)
    except ValueError:
        raise ValueError(f"a plan begins with one of {', '.join(PlanKind)}") from None


def _period(text: str) -> float:
    try:
        period = float(text)
    except ValueError:
        raise ValueError("the period is a number of seconds") from None
    if not 0.001 <= period <= 86_400:
        raise ValueError("the period lies between 0.001 and 86,400 seconds")
    return period


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise ValueError("the number of frames is a whole number") from None
    if not 1 <= count <= MAX_FRAMES_PER_ITEM:
        raise ValueError(f"the number of frames lies between 1 and {MAX_FRAMES_PER_ITEM}")
    return count


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("the seed is a whole number") from None


#: The plan a scan uses when none is named.
DEFAULT_PLAN = SamplingPlan(kind=PlanKind.UNIFORM, count=16)
