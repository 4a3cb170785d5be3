"""Is something wrong? What an operator should look at, said in sentences at the dashboard's top."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from api.wording import ago, number, percent
from core.vocabulary import ReviewSource, RunState
from db import dashboard
from db.dashboard import Drift
from db.review_queue import Backlog
from db.reviews import Agreement
from db.training_runs import RunRecord

#: A user's report that waits for longer, and anything else, seconds.
REPORT_WAITS_S, WAITS_S = 24 * 3600.0, 14 * 24 * 3600.0
#: From this share of failed items up, of FEW_ITEMS at least, something is wrong with more than one.
FAILED_SHARE, FEW_ITEMS = 0.05, 10
#: Below, two people say little more of a face than chance (Landis and Koch, Biometrics 33, 1977:
#: up to 0.40 is "fair"); with fewer faces nothing is said of it.
LITTLE_AGREEMENT, FEW_FACES = 0.4, 20


class Level(enum.StrEnum):
    """How bad it is."""

    #: Work stands still, or verdicts cannot be relied on.
    BAD = "bad"
    #: It gets worse where nobody looks.
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing to look at."""

    level: Level
    text: str
    #: Where there is more of it: a path of ours, or a place on the page.
    link: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What alerts are made of."""

    #: Workers that live; None where the queue does not answer.
    workers: int | None
    backlog: Sequence[Backlog]
    #: Items of scans of the last day: that got a verdict, and that failed, by their error code.
    judged: int
    failed: Mapping[str, int]
    drift: Drift | None
    agreement: Agreement | None
    #: The newest training run.
    run: RunRecord | None


def alerts(seen: Seen) -> list[Alert]:
    """What is wrong, the worst first; empty where nothing is."""
    found = [alert for check in _CHECKS if (alert := check(seen))]
    return sorted(found, key=lambda alert: list(Level).index(alert.level))


# --- checks -------------------------------------------------------------------------------------


def _workers(seen: Seen) -> Alert | None:
    if seen.workers is None:
        text = "The queue (Redis) does not answer: what is asked for begins late."
    elif seen.workers == 0:
        text = "No worker gives a sign of life: nothing is scanned."
    else:
        return None
    return Alert(level=Level.BAD, text=text, link="/review/scans")


def _failures(seen: Seen) -> Alert | None:
    failed = sum(seen.failed.values())
    ended = failed + seen.judged
    if ended < FEW_ITEMS or failed < FAILED_SHARE * ended:
        return None
    code, most = max(seen.failed.items(), key=lambda pair: pair[1])
    share = f"{number(failed)} of {number(ended)} items of the last day's scans failed"
    text = f"{share} ({percent(failed / ended)}), {number(most)} of them for {code}."
    level = Level.BAD if failed > ended / 2 else Level.WARNING
    return Alert(level=level, text=text, link="/review/scans")


def _drift(seen: Seen) -> Alert | None:
    last = seen.drift.last if seen.drift else None
    if last is None or last.psi is None or last.psi < dashboard.MOVED:
        return None
    if last.by_chance is not None and last.psi < last.by_chance:
        return None
    far = last.psi >= dashboard.OTHER
    what = "are others than" if far else "have moved since"
    text = f"Scores {what} after the promotion (PSI {last.psi:.2f} on {last.day:%d %b})."
    return Alert(level=Level.BAD if far else Level.WARNING, text=text, link="#drift-title")


def _reports(seen: Seen) -> Alert | None:
    waits = {line.source: line.oldest_s or 0.0 for line in seen.backlog}
    report = waits.get(ReviewSource.REPORT, 0.0)
    if report > REPORT_WAITS_S:
        text = f"A user's report has been waiting for {ago(report)}."
    elif max(waits.values(), default=0.0) > WAITS_S:
        text = f"Items have been waiting for a reviewer for up to {ago(max(waits.values()))}."
    else:
        return None
    return Alert(level=Level.WARNING, text=text, link="#waits-title")


def _agreement(seen: Seen) -> Alert | None:
    found = seen.agreement
    if found is None or found.kappa is None or found.tracks < FEW_FACES:
        return None
    if found.kappa >= LITTLE_AGREEMENT:
        return None
    text = f"Reviewers agree little (κ {found.kappa:.2f}): doubt their labels, and estimates."
    return Alert(level=Level.WARNING, text=text, link="#people-title")


def _training(seen: Seen) -> Alert | None:
    run = seen.run
    if run is None or run.state is not RunState.FAILED:
        return None
    text = f"The last training run failed: {run.reason}"
    return Alert(level=Level.WARNING, text=text, link="#runs-title")


_CHECKS: tuple[Callable[[Seen], Alert | None], ...] = (
    *(_workers, _failures, _drift, _reports, _agreement, _training),
)
