"""Everything that is known of models on labelled sets: judged once, then read by table and page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector.score import Scorer
from detector.spec import Card, Figure
from detector.verdict import decide
from training import comparison, evaluation, groups
from training.comparison import Comparison
from training.evaluation import Judgements, Row
from training.groups import Rate
from training.judging import Judged
from training.treatments import Treatment

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model, and what its training wrote down."""

    folder: Path
    card: Card
    #: `name@version`, with the folder where two models are called so.
    called: str
    #: One entry for each validation; empty where the log is not at hand.
    history: History = ()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be judged."""

    #: Model folders, the one that others are held against first.
    models: Sequence[Path]
    #: Name of each set, and its folder.
    sets: Mapping[str, Path]
    treatments: Sequence[Treatment] = ()
    plan: SamplingPlan = DEFAULT_PLAN
    device: str = "auto"
    #: Where faces that were found are kept; None finds them each time.
    cache: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Judgements of every model on every set, untreated and treated."""

    models: tuple[Trained, ...]
    judgements: tuple[Judgements, ...]
    treatments: tuple[Treatment, ...] = ()
    _rows: dict[int, list[Row]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def plain(self) -> list[Judgements]:
        """The sets as they lie there."""
        return [one for one in self.judgements if not one.treatment]

    def rows(self, one: Judgements) -> list[Row]:
        """Every figure of one set; computed once."""
        if id(one) not in self._rows:
            self._rows[id(one)] = evaluation.figure_rows(one)
        return self._rows[id(one)]

    @cached_property
    def differences(self) -> list[Comparison]:
        """Each further model against the first."""
        return comparison.against_first(self.judgements)

    @cached_property
    def losses(self) -> list[tuple[str, Comparison]]:
        """What treatments do to each model."""
        return comparison.against_untreated(self.judgements)

    @cached_property
    def group_rates(self) -> list[tuple[Judgements, list[Rate]]]:
        """False-positive rates by group, for each model and set that knows any."""
        found = [(one, groups.rates(one, groups.read_groups(one.folder))) for one in self.plain]
        return [(one, rated) for one, rated in found if rated]


def judge(asked: Asked, on_judged: Callable[[str, Judged], None] | None = None) -> Report:
    """Judge all of it; `on_judged` is told what is being judged, and each medium.

    Raises UsageError, ModelMissing, ModelCorrupt, PickleRefused.
    """
    scorers = [evaluation.scorer_of(model, asked.device) for model in asked.models]
    names = _names([scorer.card for scorer in scorers], asked.models)
    judgements = [
        _judge(scorer, name, on, folder, treatment, asked, on_judged)
        for scorer, name in zip(scorers, names, strict=True)
        for on, folder in asked.sets.items()
        for treatment in (None, *asked.treatments)
    ]
    return Report(
        models=tuple(
            Trained(folder=folder, card=scorer.card, called=name, history=history_of(folder))
            for folder, scorer, name in zip(asked.models, scorers, names, strict=True)
        ),
        judgements=tuple(judgements),
        treatments=tuple(asked.treatments),
    )


def _names(cards: Sequence[Card], folders: Sequence[Path]) -> list[str]:
    """Runs often call their models alike: then the folder tells them apart."""
    references = [card.reference for card in cards]
    return [
        name if references.count(name) == 1 else f"{name} in {folder}"
        for name, folder in zip(references, folders, strict=True)
    ]


def _judge(
    scorer: Scorer,
    name: str,
    on: str,
    folder: Path,
    treatment: Treatment | None,
    asked: Asked,
    on_judged: Callable[[str, Judged], None] | None,
) -> Judgements:
    what = f"{name} on {on}" + (f", {treatment.name}" if treatment else "")
    return evaluation.judge_set(
        scorer,
        folder,
        on,
        called=name,
        plan=asked.plan,
        treatment=treatment,
        cache=asked.cache,
        on_judged=(lambda judged: on_judged(what, judged)) if on_judged else None,
    )


def history_of(model: Path) -> History:
    """The log of the training that a model folder came from, where it lies beside it."""
    for path in (model / "history.json", model.parent / "history.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, list):
            return found
    return ()


# --- as JSON --------------------------------------------------------------------------------------


def document(report: Report) -> dict[str, Any]:
    """The whole report as a JSON value, with the score of every medium."""
    return {
        "format": 1,
        "models": [_model(one) for one in report.models],
        "figures": [
            {"model": one.model, "on": one.on, "treatment": one.treatment or None} | plain(row)
            for one in report.judgements
            for row in report.rows(one)
        ],
        "treatments": [{"model": model} | plain(found) for model, found in report.losses],
        "differences": [plain(found) for found in report.differences],
        "groups": [
            {"model": one.model, "on": one.on} | plain(rate)
            for one, found in report.group_rates
            for rate in found
        ],
        "media": [row for one in report.judgements for row in _media(one)],
    }


def _model(one: Trained) -> dict[str, Any]:
    return {
        "name": one.called,
        "reference": one.card.reference,
        "folder": str(one.folder),
        "architecture": one.card.architecture,
        "parameters": one.card.parameters,
        "recipe": one.card.training.recipe,
        "weights_sha256": one.card.weights_sha256,
        "history": [dict(entry) for entry in one.history],
    }


def _media(one: Judgements) -> Iterable[dict[str, Any]]:
    for kind in MediaKind:
        scores, limits = one.scores(kind), evaluation.thresholds(one.card, kind)
        for judged in one.of_kind(kind):
            found = scores.get(judged.medium.path)
            yield {
                "model": one.model,
                "on": one.on,
                "treatment": one.treatment or None,
                "path": judged.medium.path,
                "label": judged.medium.label,
                "medium": str(kind),
                "source": judged.medium.source,
                "generator": judged.medium.generator,
                "score": found,
                "verdict": _verdict(judged, found, limits),
                "error": judged.error or None,
            }


def _verdict(judged: Judged, score: float | None, limits: Any) -> str | None:
    if judged.error:
        return None
    return str(decide(score, limits)) if score is not None else "no_face"


def plain(value: Any) -> Any:
    """Dataclasses and figures as dictionaries, all the way down."""
    if isinstance(value, Figure):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return str(value) if isinstance(value, MediaKind) else value
