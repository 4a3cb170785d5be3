"""The tables that `benchmarks.loop` prints, and the part of docs/results.md that it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks import marked
from core.vocabulary import Label, ReviewState
from db.labels import Word
from db.tables import Review
from training import gate as gates
from training import metrics
from training.crops import Medium

#: The part of the document between the marks of this name.
RESULTS, MARK = Path(__file__).parent.parent / "docs" / "results.md", "loop"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One scanned medium."""

    medium: Medium
    verdict: str
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What people have said."""

    reported: int
    #: Judged reviews by where they came from.
    judged: Mapping[str, int]
    #: Labelled persons by label.
    labels: Mapping[str, int]

    @classmethod
    def of(cls, session: Session, words: Sequence[Word], *, reported: int) -> Told:
        """As the rows have it."""
        query = select(Review.source, func.count()).where(Review.state == ReviewState.JUDGED)
        counted = session.execute(query.group_by(Review.source))
        return cls(
            reported=reported,
            judged={str(source): count for source, count in counted.tuples()},
            labels=Counter(str(word.label) for word in words),
        )


@dataclass(frozen=True, kw_only=True)
class Grid:
    """One table, for the terminal and for Markdown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Page:
    """What was said, on the terminal at once and as Markdown in the end."""

    console: Console = field(default_factory=lambda: Console(width=120))
    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A sentence."""
        self.console.print(text)
        self.lines.extend([text, ""])

    def table(self, grid: Grid) -> None:
        """A table with its title."""
        table = Table(*grid.columns, title=grid.title)
        for row in grid.rows:
            table.add_row(*row)
        self.console.print(table)
        rule = ["---"] * len(grid.columns)
        self.lines.extend([f"**{grid.title}**", "", _line(grid.columns), _line(rule)])
        self.lines.extend([*map(_line, grid.rows), ""])

    def write(self) -> None:
        """Between the marks of docs/results.md."""
        marked.replace(RESULTS, MARK, ["", *self.lines])


def sizes(parts: Mapping[str, Sequence[Medium]], generator: str) -> Grid:
    """Media of each part; `parts` in the order of the columns."""
    belongs = {
        f"{generator} (unseen)": lambda m: m.generator == generator,
        "other fakes": lambda m: m.label == "fake" and m.generator != generator,
        "reals": lambda m: m.label == "real",
    }
    return Grid(
        title="Stills, by group",
        columns=("media", "known", "golden", "first scan", "last scan"),
        rows=[
            [name, *(str(sum(map(which, media))) for media in parts.values())]
            for name, which in belongs.items()
        ],
    )


def verdicts(title: str, found: Sequence[Found], generator: str) -> Grid:
    """What media were called."""
    words = ("fake", "uncertain", "real", "no_face")
    rows = []
    for name, group in _groups(found, generator).items():
        counts = Counter(one.verdict for one in group)
        rows.append([name, str(len(group)), *(str(counts[word]) for word in words)])
    return Grid(title=title, columns=("media", "n", *words), rows=rows)


def told(told: Told) -> str:
    """How much was judged, and why."""
    judged = ", ".join(f"{count} {source}" for source, count in sorted(told.judged.items()))
    said = f"{told.labels.get(Label.FAKE, 0)} persons fake, {told.labels.get(Label.REAL, 0)} real"
    return f"Users reported {told.reported}; people judged {judged}: {said}."


def gate(decision: Mapping[str, Any]) -> Grid:
    """Each figure, and what the gate asked of it."""
    rows = []
    for check in decision["checks"]:
        sign = ">" if check["set"] == gates.FLAGGED_SET else ">="
        rows.append(
            [
                f"{check['set']}, {check['media']} media",
                check["figure"],
                f"{check['before']:.3f}",
                f"{check['after']:.3f}",
                f"{check['change']:+.3f} [{check['low']:+.3f}, {check['high']:+.3f}]",
                f"{sign} {check['needed']:+.3f}: {'met' if check['passed'] else 'not met'}",
            ]
        )
    return Grid(
        title=f"The gate {'let it pass' if decision['passed'] else 'refused'}",
        columns=("set", "figure", "before", "after", "change, 90% interval", "its lower end"),
        rows=rows,
    )


def comparison(scans: Mapping[str, Sequence[Found]], generator: str) -> Grid:
    """Recall and AUC on new media, before and after, with bootstrap intervals."""
    before = next(iter(scans))
    reals = {name: _groups(found, generator)["reals"] for name, found in scans.items()}
    rows = []
    for group in _groups(scans[before], generator):
        found = {name: _groups(each, generator)[group] for name, each in scans.items()}
        called = "called fake" if group != "reals" else "falsely called fake"
        of = f"{group}, {len(found[before])}"
        rows.append([of, called, *(_rate(found[n], "fake") for n in scans)])
        rows.append(["", "passed on to a person", *(_rate(found[n], "uncertain") for n in scans)])
        if group != "reals":
            rows.append(["", "AUC", *(_auc(found[n], reals[n]) for n in scans)])
    return Grid(title="New media", columns=("media", "figure", *scans), rows=rows)


def changes(scans: Mapping[str, Sequence[Found]], generator: str) -> Grid:
    """How much each figure changed: both versions on the same draw, groups drawn whole."""
    sides = [_groups(found, generator) for found in scans.values()]
    rows = []
    for group in sides[0]:
        called = "called fake" if group != "reals" else "falsely called fake"
        rows.append([group, called, _rate_change(*_both(sides, (group,)))])
        if group != "reals":
            rows.append(["", "AUC", _auc_change(*_both(sides, (group, "reals")))])
    return Grid(
        title="What changed on new media", columns=("media", "figure", "change, 95%"), rows=rows
    )


# --- helpers ------------------------------------------------------------------------------------


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _groups(found: Sequence[Found], generator: str) -> dict[str, list[Found]]:
    return {
        f"{generator} (unseen at first)": [f for f in found if f.medium.generator == generator],
        "other fakes": [
            f for f in found if f.medium.label == "fake" and f.medium.generator != generator
        ],
        "reals": [f for f in found if f.medium.label == "real"],
    }


def _both(
    sides: Sequence[Mapping[str, Sequence[Found]]], groups: Sequence[str]
) -> tuple[list[Medium], list[Found], list[Found]]:
    """The media of these groups with a face, and what both versions found, in one order."""
    before, after = (
        {one.medium.path: one for group in groups for one in side[group] if one.score is not None}
        for side in sides
    )
    paths = [path for path in before if path in after]
    media = [before[path].medium for path in paths]
    return media, [before[path] for path in paths], [after[path] for path in paths]


def _rate_change(media: list[Medium], before: list[Found], after: list[Found]) -> str:
    hits = [np.array([one.verdict == "fake" for one in side], float) for side in (before, after)]
    return _paired(media, lambda w: (w * (hits[1] - hits[0])).sum(1) / w.sum(1))


def _auc_change(media: list[Medium], before: list[Found], after: list[Found]) -> str:
    labels = np.array([medium.label == "fake" for medium in media], np.int64)
    auc = metrics.functions(labels, 0.5)["auc"]
    scores = [np.array([one.score for one in side], np.float64) for side in (before, after)]
    return _paired(media, lambda w: auc(labels, scores[1], w) - auc(labels, scores[0], w))


def _paired(media: Sequence[Medium], figure: Callable[[metrics.Weights], metrics.Scores]) -> str:
    groups = np.array([medium.group for medium in media])
    clusters = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    found = metrics.interval(figure(metrics.draw(clusters)))
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" if found else "-"


def _rate(found: Sequence[Found], verdict: str) -> str:
    faces = [one for one in found if one.score is not None]
    hits = sum(one.verdict == verdict for one in faces)
    if not faces:
        return "-"
    low, high = metrics.rate_bounds(hits, len(faces))
    return f"{hits} of {len(faces)}: {hits / len(faces):.2f} [{low:.2f}, {high:.2f}]"


def _auc(fakes: Sequence[Found], reals: Sequence[Found]) -> str:
    scored = [one for one in (*fakes, *reals) if one.score is not None]
    labels = np.array([one.medium.label == "fake" for one in scored], np.int64)
    if len(set(labels.tolist())) < 2:
        return "-"
    scores = np.array([one.score for one in scored], np.float64)
    figure = metrics.figures(labels, scores, threshold=0.5)["auc"]
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]"
