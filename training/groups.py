"""Who is wrongly accused: false-positive rates of real photos by age, gender and skin tone.

What a photo's source says of the person, and nothing that was guessed here. A labels.csv may have
the columns `age`, `gender` and `skin_tone`; for two public sets whose word lies elsewhere it is
read from there:

- UTKFace (Zhang et al. 2017) puts age, gender and race into the file name.
- FairFace (Karkkainen & Joo 2021, CC BY 4.0) as chosen by thlaiquid-ai/demographic-test-images: age
  range and gender by number, from that repository's `fairface/ground_truth.json`.

The words are the sources' own: UTKFace calls `race` what is taken for skin tone here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.vocabulary import MediaKind
from detector.spec import Figure, Thresholds
from training import metrics
from training.evaluation import Judgements, thresholds

ATTRIBUTES = ("age", "gender", "skin tone")
#: A group with fewer real media says nothing.
FEWEST = 10
#: Lower ends of the age groups.
_AGES = (0, 10, 20, 40, 60)

Attributes = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often the real media of one group are called fake."""

    attribute: str
    group: str
    real: int
    #: Called fake at the model's own threshold.
    accused: int
    #: Exact 95% interval.
    rate: Figure
    #: Rate divided by that of all real media whose attribute is known; None where that is 0.
    ratio: Figure | None
    #: Mean score: moves long before verdicts do.
    mean_score: float


def read_groups(folder: Path) -> dict[str, Attributes]:
    """What is known of the person in each real medium of a labelled folder, by path."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["label"] == "real"]
    told = {row["path"]: _told(row) for row in rows}
    return {path: attributes for path, attributes in told.items() if attributes}


def rates(judgements: Judgements, groups: Mapping[str, Attributes]) -> list[Rate]:
    """The groups of real stills that have at least `FEWEST` media, attribute by attribute."""
    scores = judgements.scores(MediaKind.IMAGE)
    reals = [
        one.medium.path
        for one in judgements.of_kind(MediaKind.IMAGE)
        if not one.fake and one.medium.path in scores and one.medium.path in groups
    ]
    limits = thresholds(judgements.card, MediaKind.IMAGE)
    found = []
    for attribute in ATTRIBUTES:
        known = [path for path in reals if attribute in groups[path]]
        of_group = np.array([groups[path][attribute] for path in known])
        values = np.array([scores[path] for path in known])
        found += list(_rates(attribute, of_group, values, limits))
    return found


def _rates(
    attribute: str, of_group: np.ndarray, scores: metrics.Scores, limits: Thresholds
) -> Iterator[Rate]:
    if not len(scores):
        return
    accused = scores >= limits.fake_from
    weights = metrics.draw(len(scores))
    average = metrics.ratio(weights @ accused, weights.sum(1))
    for group in _in_order(set(of_group.tolist())):
        inside = of_group == group
        if inside.sum() < FEWEST:
            continue
        rate = metrics.ratio(weights @ (accused & inside), weights @ inside)
        hits, total = int((accused & inside).sum()), int(inside.sum())
        low, high = metrics.rate_bounds(hits, total)
        yield Rate(
            attribute=attribute,
            group=group,
            real=total,
            accused=hits,
            rate=Figure(value=hits / total, low=low, high=high),
            ratio=metrics.interval(metrics.ratio(rate, average)),
            mean_score=float(scores[inside].mean()),
        )


def worst(found: Sequence[Rate]) -> Rate | None:
    """The group with the highest ratio to the average."""
    known = [one for one in found if one.ratio]
    return max(known, key=lambda one: one.ratio.value if one.ratio else 0.0, default=None)


def _in_order(groups: set[str]) -> list[str]:
    return sorted(groups, key=lambda group: (int(re.match(r"\d*", group)[0] or 999), group))  # type: ignore[index]


# --- what sources say ----------------------------------------------------------------------------


def _told(row: Mapping[str, str]) -> Attributes:
    columns = {
        "age": _age(row.get("age") or ""),
        "gender": (row.get("gender") or "").lower(),
        "skin tone": (row.get("skin_tone") or "").lower(),
    }
    told = {name: value for name, value in columns.items() if value}
    return told or _of_utkface(row["path"]) or _of_fairface(row["path"])


def _age(text: str) -> str:
    """The group of an age or of a range such as 30-39 or 70+, by where it begins."""
    years = re.match(r"\d+", text)
    if not years:
        return ""
    lower = max(bound for bound in _AGES if bound <= int(years[0]))
    above = [bound for bound in _AGES if bound > lower]
    return f"{lower}-{above[0] - 1}" if above else f"{lower}+"


_UTKFACE = re.compile(r"(?:^|_)(\d{1,3})_([01])_([0-4])_\d{17}\.jpg")
_GENDERS = ("male", "female")
_RACES = ("white", "black", "asian", "indian", "other")


def _of_utkface(path: str) -> Attributes:
    found = _UTKFACE.search(Path(path).name)
    if not found:
        return {}
    age, gender, race = found.groups()
    return {"age": _age(age), "gender": _GENDERS[int(gender)], "skin tone": _RACES[int(race)]}


_FAIRFACE = re.compile(r"fairface_(\d{4})\.jpg$")
#: Of the 130 photos that stand in the development set.
_FAIRFACE_SAYS = {
    ("0-2", "female"): "287 331 408 413 472",
    ("0-2", "male"): "323 418 421 466 485 491",
    ("3-9", "female"): "188 251 265 314 368",
    ("3-9", "male"): "61 184 204 206 230 234 241 283 313 315 337",
    ("10-19", "female"): "42 161 179 237 322 343",
    ("10-19", "male"): "172 351",
    ("20-29", "female"): "21 40 74 85 88 100 109 122 151 153 170 181",
    ("20-29", "male"): "6 29 57 64 76 87 156 183 192",
    ("30-39", "female"): "81 123 126 159 162 177 203",
    ("30-39", "male"): "66 75 82 91 142 145 178 220",
    ("40-49", "female"): "135 197 218 227 252 268 275 301 356 369",
    ("40-49", "male"): "103 271 276 281",
    ("50-59", "female"): "50 354 398 427 434",
    ("50-59", "male"): "33 53 105 115 266 282 291",
    ("60-69", "female"): "370 378 382 384 394 438 459 460 480",
    ("60-69", "male"): "68 310 414 420 435 445 455 462",
    ("70+", "female"): "470 473 482 507 510 514 524 529",
    ("70+", "male"): "144 326 465 475 515 521 530 537",
}
_FAIRFACE_NUMBERS = {
    int(number): {"age": _age(age), "gender": gender}
    for (age, gender), numbers in _FAIRFACE_SAYS.items()
    for number in numbers.split()
}


def _of_fairface(path: str) -> Attributes:
    found = _FAIRFACE.search(path)
    return _FAIRFACE_NUMBERS.get(int(found[1]), {}) if found else {}
