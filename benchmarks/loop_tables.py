"""The tables that `benchmarks.loop` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from training import metrics
from training.crops import Medium


@dataclass(frozen=True, kw_only=True)
class Found:
    """One scanned medium."""

    medium: Medium
    verdict: str
    score: float | None


def sizes(parts: Mapping[str, Sequence[Medium]], generator: str) -> Table:
    """Media of each part; `parts` in the order of the columns."""
    table = Table("media", "known", "golden", "first scan", "last scan", title="stills, by group")
    rows = {
        f"{generator} (unseen)": lambda m: m.generator == generator,
        "other fakes": lambda m: m.label == "fake" and m.generator != generator,
        "reals": lambda m: m.label == "real",
    }
    for name, belongs in rows.items():
        counts = [sum(map(belongs, media)) for media in parts.values()]
        table.add_row(name, *map(str, counts))
    return table


def _groups(found: Sequence[Found], generator: str) -> dict[str, list[Found]]:
    return {
        f"{generator} (unseen at first)": [f for f in found if f.medium.generator == generator],
        "other fakes": [
            f for f in found if f.medium.label == "fake" and f.medium.generator != generator
        ],
        "reals": [f for f in found if f.medium.label == "real"],
    }


def verdicts(title: str, found: Sequence[Found], generator: str) -> Table:
    """What media were called."""
    table = Table("media", "n", "fake", "uncertain", "real", "no face", title=title)
    for name, group in _groups(found, generator).items():
        counts = Counter(one.verdict for one in group)
        words = ("fake", "uncertain", "real", "no_face")
        table.add_row(name, str(len(group)), *(str(counts[word]) for word in words))
    return table


def told(told: Counter[str]) -> str:
    """How much was judged, and why."""
    sources = ", ".join(
        f"{told[word]} {word}" for word in ("report", "audit", "uncertain") if told[word]
    )
    return f"judged: {sources}; {told['fake']} said to be fake, {told['real']} real"


def gate(decision: Mapping[str, Any]) -> Table:
    """Each figure, and what the gate asked of it."""
    title = f"gate: {'passed' if decision['passed'] else 'refused'}"
    table = Table("set", "figure", "n", "before", "after", "change", "needed", title=title)
    for check in decision["checks"]:
        change = f"{check['change']:+.3f} [{check['low']:+.3f}, {check['high']:+.3f}]"
        needed = f"{'>' if check['set'] == 'flagged' else '>='} {check['needed']:+.3f}"
        table.add_row(
            check["set"],
            check["figure"],
            str(check["media"]),
            f"{check['before']:.3f}",
            f"{check['after']:.3f}",
            change,
            f"{needed} {'ok' if check['passed'] else 'NOT MET'}",
        )
    return table


def comparison(scans: Mapping[str, Sequence[Found]], generator: str) -> Table:
    """Recall and AUC on new media, before and after, with bootstrap intervals."""
    before, after = scans
    table = Table("new media", "n", "figure", before, after, title="last scan")
    reals = {name: _groups(found, generator)["reals"] for name, found in scans.items()}
    for group in _groups(scans[before], generator):
        found = {name: _groups(each, generator)[group] for name, each in scans.items()}
        size = str(len(found[before]))
        called = "called fake" if group != "reals" else "falsely called fake"
        table.add_row(group, size, called, *(_rate(found[n], "fake") for n in scans))
        passed_on = (_rate(found[n], "uncertain") for n in scans)
        table.add_row("", "", "passed on to a person", *passed_on)
        if group != "reals":
            table.add_row("", "", "AUC", *(_auc(found[n], reals[n]) for n in scans))
    return table


def _rate(found: Sequence[Found], verdict: str) -> str:
    faces = [one for one in found if one.score is not None]
    hits = sum(one.verdict == verdict for one in faces)
    if not faces:
        return "-"
    low, high = metrics.rate_bounds(hits, len(faces))
    return f"{hits}/{len(faces)} = {hits / len(faces):.2f} [{low:.2f}, {high:.2f}]"


def _auc(fakes: Sequence[Found], reals: Sequence[Found]) -> str:
    scored = [one for one in (*fakes, *reals) if one.score is not None]
    labels = np.array([one.medium.label == "fake" for one in scored], np.int64)
    if len(set(labels.tolist())) < 2:
        return "-"
    scores = np.array([one.score for one in scored], np.float64)
    figure = metrics.figures(labels, scores, threshold=0.5)["auc"]
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]"
