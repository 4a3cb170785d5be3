"""A model's card as tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from cli.database import opened
from cli.text import count
from core.errors import ModelCorrupt, ModelMissing
from core.settings import Settings
from db import models
from detector import artifact
from detector.spec import Card, Evaluation, Figure, Input, Thresholds, faults

#: How the shipped model is called on the command line.
DEFAULT_MODEL = "default"


def find_card(name: str, settings: Settings) -> Card:
    """The card of `default`, of `NAME@N`, shipped or registered, or of the model in a folder.

    Raises ModelMissing, ModelCorrupt.
    """
    if (Path(name) / artifact.CARD_FILE).exists():
        return artifact.read_card(Path(name))
    try:
        shipped = artifact.read_card(artifact.DEFAULT_FOLDER)
    except ModelMissing:
        # A checkout without the shipped weights still has its registered models.
        if name == DEFAULT_MODEL:
            raise
    else:
        if name in (DEFAULT_MODEL, shipped.reference):
            return shipped
    with opened(settings) as database, database.transaction() as session:
        record = models.find(session, name)
    try:
        return Card.model_validate(record.card)
    except ValidationError as error:
        raise ModelCorrupt(f"The card of {name} cannot be read. {faults(error)}.") from error


def card_tables(card: Card) -> RenderableType:
    """Everything that a card says, in reading order."""
    parts: list[RenderableType] = [_facts(card), _operating(card)]
    if card.evaluations:
        parts.append(_evaluations(card.evaluations))
    parts.append(_data(card))
    if card.limits:
        parts.append(_limits(card))
    return Group(*parts)


def _facts(card: Card) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    training = card.training
    rule = card.aggregation
    rows = (
        ("model", card.reference),
        ("network", f"{card.architecture}, {card.parameters:,} parameters"),
        ("input", _input(card.input)),
        ("scores", f"at a base rate of {card.calibration.prior_fake:.0%} fakes"),
        ("aggregation", f"{rule.rule} {rule.parameter:g}"),
        ("recipe", f"{training.recipe}, seed {training.seed}, {training.steps:,} steps"),
        ("trained", f"{training.hours:.2f} hours on {training.machine}"),
        ("code", training.code_version),
        ("snapshot", f"{training.snapshot} ({training.snapshot_sha256[:12]})"),
        ("weights", card.weights_sha256),
        ("terms", card.terms),
    )
    for label, value in rows:
        grid.add_row(label, escape(value))
    return grid


def _input(spec: Input) -> str:
    """`192 px, margin 15%`, or `192 px, mean of 2 views: margin 4%, 4% mirrored`."""
    if not spec.views:
        return f"{spec.size_px} px, margin {spec.crop_margin:.0%}"
    return (
        f"{spec.size_px} px, mean of {count(len(spec.views), 'view')}: margin "
        f"{', '.join(map(str, spec.views))}"
    )


def _operating(card: Card) -> Table:
    table = _table(
        "Operating point", "medium", "real below", "fake from", "false positives", "set on"
    )
    for medium, limits in (("image", card.operating.image), ("video", card.operating.video)):
        table.add_row(medium, *_limits_cells(limits))
    return table


def _limits_cells(limits: Thresholds) -> tuple[str, str, str, str]:
    return (
        f"{limits.real_below:.3f}",
        f"{limits.fake_from:.3f}",
        f"{limits.false_positive_rate:.1%} (at most {limits.false_positive_rate_upper:.1%})",
        count(limits.real_media, "real medium", "real media"),
    )


def _evaluations(evaluations: tuple[Evaluation, ...]) -> Table:
    names = list(dict.fromkeys(name for each in evaluations for name in each.figures))
    table = _table(
        "Measured on data it never saw (95% interval)",
        *("set", "medium", "source", "real", "fake"),
        *(name.replace("_", " ") for name in names),
    )
    for each in evaluations:
        cells = [_figure(each.figures.get(name)) for name in names]
        table.add_row(
            each.on, each.medium, escape(each.source), str(each.real), str(each.fake), *cells
        )
    return table


def _figure(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def _data(card: Card) -> Table:
    table = _table("Trained on", "source", "real", "fake", "licence")
    for each in card.training.data:
        table.add_row(escape(each.source), f"{each.real:,}", f"{each.fake:,}", escape(each.licence))
    return table


def _limits(card: Card) -> Table:
    table = _table("What it cannot tell")
    table.add_column(overflow="fold")
    for sentence in _bullets(card.limits):
        table.add_row(sentence)
    return table


def _bullets(sentences: tuple[str, ...]) -> Iterator[str]:
    return (f"• {escape(sentence)}" for sentence in sentences)


def _table(title: str, *headers: str) -> Table:
    table = Table(
        box=None,
        title=f"\n{title}",
        title_justify="left",
        header_style="dim",
        pad_edge=False,
        show_header=bool(headers),
    )
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
