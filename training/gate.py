"""The gate: whether a challenger may take the champion's place, decided by figures alone.

Both models score the same faces, and each set is drawn anew many times with both of them on the
same draw (paired bootstrap; what belongs together, by group, is drawn together). A challenger
passes where both hold:

- on every golden set it loses no more than the set's margin: the lower end of the one-sided 95%
  interval of its change lies at or above minus the margin, in AUC and in balanced accuracy;
- on the held-out part of what people flagged it gains: the lower end of its change in AUC lies
  above zero.

Balanced accuracy is the mean of the shares of fakes and of reals that are called what they are, by
each model's own thresholds: what users see. AUC asks for the order alone; on a few dozen flagged
faces a gain shows in it first, while thresholds that were set anew are still noise. A set that is
too small to show that nothing was lost does not let anything pass. Without a golden set nothing
passes at all.

Who tries often enough passes by luck. So the chance of 5% is shared by all challengers that were
held against one champion: the second one's intervals are those of 2.5%, and so on (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training import metrics
from training.metrics import Labels, Scores

#: Bootstrap draws: the 5% quantile then rests on a hundred of them.
DRAWS = 2000
#: One-sided, shared by all tries.
LEVEL = 0.05
BALANCED, AUC = "balanced_accuracy", "auc"
#: Name of the held-out part of what people flagged.
FLAGGED_SET = "flagged"

#: Why a challenger was not promoted, for programs.
NO_GOLDEN_SET, GOLDEN_LOST, NOT_BETTER = "no_golden_set", "golden_set_lost", "flagged_not_better"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one model says of the media of a set."""

    #: Calibrated, 0..1, shape (n,).
    scores: Scores
    #: Whether it is called fake, by the model's own threshold; shape (n,).
    fake: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """One set with what both models say of it, in one order."""

    #: 0 and 1, shape (n,).
    labels: Labels
    #: Number of the group of each medium; shape (n,).
    groups: Labels
    before: Said
    after: Said

    def __post_init__(self) -> None:
        sides = (self.before, self.after)
        sizes = {len(self.labels), len(self.groups)}
        sizes |= {len(each) for side in sides for each in (side.scores, side.fake)}
        if len(sizes) != 1:
            raise ValueError(f"one score of each model for each label: got {sorted(sizes)}")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure on one set, before and after."""

    set: str
    figure: str
    before: float
    after: float
    #: The change, and the lower and upper end of its one-sided intervals.
    change: float
    low: float
    high: float
    #: The lower end must reach this (golden sets) or lie above it (flagged).
    needed: float
    passed: bool
    media: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The gate's answer."""

    passed: bool
    #: None where it passed.
    code: str | None
    #: One sentence.
    reason: str
    checks: tuple[Check, ...]

    def as_json(self) -> dict[str, Any]:
        """For the run's row and the API."""
        return asdict(self) | {"checks": [asdict(check) for check in self.checks]}


def decide(
    flagged: Pairs | None, golden: Mapping[str, tuple[Pairs, float]], *, tries: int = 1
) -> Decision:
    """The answer for one challenger; `golden` gives each set's pairs and margin by its name.

    `tries` counts the challengers that were held against this champion, this one among them.
    """
    level = LEVEL / tries
    checks: list[Check] = []
    for name, (pairs, margin) in golden.items():
        for figure in figures_of(pairs):
            checks.append(_check(name, figure, pairs, -margin, level))
    gain = None
    if flagged is not None:
        gain = _check(FLAGGED_SET, figures_of(flagged)[0], flagged, 0.0, level, above=True)
    lost = next((check for check in checks if not check.passed), None)
    every = (*checks, gain) if gain else tuple(checks)
    if not golden:
        return _no(NO_GOLDEN_SET, "No golden set is named, so nothing shows what was lost.", every)
    if lost is not None:
        return _no(GOLDEN_LOST, _lost(lost), every)
    if gain is None:
        return _no(NOT_BETTER, "No flagged media were held out, so nothing shows a gain.", every)
    if not gain.passed:
        return _no(NOT_BETTER, _not_better(gain), every)
    return Decision(passed=True, code=None, reason=_passed(gain, len(golden)), checks=every)


def figures_of(pairs: Pairs) -> Sequence[str]:
    """The figures that the classes of a set allow; the first one tells a gain."""
    return (AUC, BALANCED) if len(np.unique(pairs.labels)) == 2 else (BALANCED,)


def pair(labels: Labels, groups: Sequence[str], before: Said, after: Said) -> Pairs:
    """Pairs with groups by their names."""
    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    return Pairs(labels=labels, groups=numbers.astype(np.int64), before=before, after=after)


# --- helpers ------------------------------------------------------------------------------------


def _check(
    name: str, figure: str, pairs: Pairs, needed: float, level: float, *, above: bool = False
) -> Check:
    weights = metrics.draw(pairs.groups, draws=DRAWS)
    before = _FIGURES[figure](pairs.labels, pairs.before, weights)
    after = _FIGURES[figure](pairs.labels, pairs.after, weights)
    change = after - before
    drawn = change[1:][np.isfinite(change[1:])]
    low, high = np.quantile(drawn, [level, 1 - level]) if len(drawn) else (-1.0, 1.0)
    return Check(
        set=name,
        figure=figure,
        before=float(before[0]),
        after=float(after[0]),
        change=float(change[0]),
        low=float(low),
        high=float(high),
        needed=needed,
        passed=bool(low > needed if above else low >= needed),
        media=len(pairs.labels),
    )


def _auc(labels: Labels, said: Said, weights: Scores) -> Scores:
    return metrics.functions(labels, 0.5)["auc"](labels, said.scores, weights)


def _balanced(labels: Labels, said: Said, weights: Scores) -> Scores:
    found = metrics.functions(labels, 0.5)
    shares = [
        found[name](labels, said.fake.astype(np.float64), weights)
        for name in ("recall", "specificity")
        if name in found
    ]
    return np.asarray(np.mean(shares, axis=0), np.float64)


_FIGURES: Mapping[str, Callable[[Labels, Said, Scores], Scores]] = {
    AUC: _auc,
    BALANCED: _balanced,
}
_WORDS = {AUC: "AUC", BALANCED: "balanced accuracy"}


def _no(code: str, reason: str, checks: tuple[Check, ...]) -> Decision:
    return Decision(passed=False, code=code, reason=reason, checks=checks)


def _change(check: Check) -> str:
    return (
        f"{_WORDS[check.figure]} went from {check.before:.3f} to {check.after:.3f} on "
        f"{check.media} media (change {check.change:+.3f}, at least {check.low:+.3f})"
    )


def _lost(check: Check) -> str:
    return (
        f"On the golden set {check.set} {_change(check)}; it may lose {-check.needed:.3f} at most."
    )


def _not_better(check: Check) -> str:
    return f"On the held-out flagged media {_change(check)}: no gain is shown."


def _passed(check: Check, golden: int) -> str:
    sets = "the golden set" if golden == 1 else f"each of the {golden} golden sets"
    return f"On the held-out flagged media {_change(check)}, and {sets} kept within its margin."
