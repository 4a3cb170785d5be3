"""The shipped detector, judged again on the development set: every goal, met or not.

    python -m benchmarks.results                      # make results
    python -m benchmarks.results --model runs/one/model --json
    python -m benchmarks.results --write              # docs/results.md's part between the marks
    python -m benchmarks.results --scan               # and a scan: does serving equal training?

Faces are found once for each treatment and kept in the user's cache folder (about 400 MB); after
that another model of the same input takes its network's time alone. The development set is looked
at and never trained on; it decides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import goals, marked
from benchmarks.goals import Goal, Method
from cli.caches import found_faces
from cli.evaluate import judging_bar, model_folder
from cli.text import console
from core.errors import DeepsweepError
from training import evaluation, evaluation_report, graded, groups
from training.evaluation import Judgements, cell
from training.evaluation_report import Asked, Report
from training.groups import Attributes, Rate
from training.treatments import TREATMENTS

DOCUMENT = Path(__file__).parent.parent / "docs" / "results.md"
MARK = "results"
BEGIN, END = marked.marks(MARK)
#: Where the labelled media lie unless DEEPSWEEP_MEDIA says otherwise.
MEDIA = Path(__file__).parent.parent.parent / "shared" / "data"
#: Photos of each skin tone that are judged.
PER_GROUP = 60


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that is printed or written."""

    report: Report
    goals: Sequence[Goal]
    methods: Sequence[Method]
    skin_tone: Sequence[Rate]
    #: What is to be said of them.
    skin_tone_note: str
    #: Of the evaluation and of a scan, by medium; empty where no scan was asked for.
    served: dict[str, tuple[float, float]]
    seconds: float


def main() -> None:
    """Judge, print, and write where that is asked for."""
    asked = _arguments()
    if not (asked.data / "dev" / "labels.csv").exists():
        print(f"Skipped: there are no labelled media in {asked.data} (see DEEPSWEEP_MEDIA).")
        return
    try:
        results = measure(asked)
    except DeepsweepError as error:
        sys.exit(str(error))
    if asked.json:
        print(json.dumps(document(results), indent=1))
    else:
        show(results)
    if asked.write:
        write(results, DOCUMENT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="default", help="default, NAME@N, or a folder")
    default = Path(os.environ.get("DEEPSWEEP_MEDIA") or MEDIA)
    parser.add_argument("--data", type=Path, default=default, help="labelled media, with dev/")
    parser.add_argument("--cache", type=Path, default=found_faces(), help="of faces found")
    parser.add_argument("--treat", nargs="*", default=["all"], metavar="NAME", help="none for none")
    parser.add_argument("--scan", action="store_true", help="scan dev as well, and compare")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    return parser.parse_args()


# --- measuring ------------------------------------------------------------------------------------


def measure(asked: argparse.Namespace) -> Results:
    """Judge the development set as it lies there and treated, and real photos by skin tone."""
    started = time.monotonic()
    folder = model_folder(asked.model)
    names = [name for name in asked.treat if name != "none"]
    with judging_bar() as tick:
        report = evaluation_report.judge(
            Asked(
                models=[folder],
                sets={"dev": asked.data / "dev"},
                treatments=evaluation.treatments(names),
                cache=asked.cache,
            ),
            tick,
        )
    rates, note = by_skin_tone(folder, asked.data / "train", asked.cache)
    return Results(
        report=report,
        goals=goals.check(report, skin_tone=(rates, note)),
        methods=goals.methods(report.plain[0]),
        skin_tone=rates,
        skin_tone_note=note,
        served=_served(folder, asked.data / "dev", report.plain[0]) if asked.scan else {},
        seconds=time.monotonic() - started,
    )


def by_skin_tone(model: Path, folder: Path, cache: Path) -> tuple[list[Rate], str]:
    """Rates of real photos of the training set whose source names the skin tone.

    Only photos that the run held out, where its list is at hand beside the model.
    """
    if not (folder / "labels.csv").exists():
        return [], f"{folder} is not there"
    held = _held_out(model)
    known: Mapping[str, Attributes] = {
        path: {"skin tone": told["skin tone"]}
        for path, told in groups.read_groups(folder).items()
        if "skin tone" in told and (held is None or path in held)
    }
    known = _some(known)
    scorer = evaluation.scorer_of(model)
    media = evaluation.media_of(folder, known)
    judged = tuple(evaluation.judge_media(media, folder, scorer, cache=cache))
    one = Judgements(card=scorer.card, on="train", folder=folder, judged=judged)
    seen = "held out of training" if held else "mostly trained on, so the rates flatter"
    return groups.rates(one, known), f"{len(known)} UTKFace photos, {seen}"


def _some(known: Mapping[str, Attributes]) -> dict[str, Attributes]:
    """At most `PER_GROUP` of each group, evenly spread over the list."""
    by_group: dict[str, list[str]] = {}
    for path, told in known.items():
        by_group.setdefault(told["skin tone"], []).append(path)
    return {path: known[path] for paths in by_group.values() for path in _spread(paths)}


def _spread(paths: list[str]) -> list[str]:
    step = max(1.0, len(paths) / PER_GROUP)
    return [paths[int(number * step)] for number in range(min(PER_GROUP, len(paths)))]


def _held_out(model: Path) -> frozenset[str] | None:
    try:
        split = json.loads((model.parent / "split.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return frozenset(split.get("held_out", ())) or None


def _served(model: Path, dev: Path, plain: Judgements) -> dict[str, tuple[float, float]]:
    """AUC of the evaluation and of a scan from end to end, by medium."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch) / "items.jsonl"
        environment = os.environ | {"DEEPSWEEP_DATA_DIR": str(Path(scratch) / "data")}
        command = [sys.executable, "-m", "deepsweep"]
        if model.resolve() != model_folder("default").resolve():
            register = [*command, "models", "register", str(model), "--promote"]
            subprocess.run(register, env=environment, check=True, stdout=subprocess.DEVNULL)
        scan = [*command, "scan", str(dev), "--json", str(lines), "--quiet"]
        # 1 says that some items failed: that is for the figures to show.
        if subprocess.run(scan, env=environment, check=False).returncode not in (0, 1):
            raise RuntimeError("the scan did not end")
        grades = graded.grade(lines, dev)
    scanned = {
        found.medium: found.figures["auc"].value
        for found in grades.evaluations
        if found.source == graded.ALL and "auc" in found.figures
    }
    judged = {
        str(row.medium): row.figures["auc"].value
        for row in evaluation.figure_rows(plain)
        if row.unit == "media" and row.source == evaluation.ALL and "auc" in row.figures
    }
    return {medium: (judged[medium], scanned[medium]) for medium in judged if medium in scanned}


# --- saying ---------------------------------------------------------------------------------------


def document(results: Results) -> dict[str, Any]:
    """The results as a JSON value."""
    plain = evaluation_report.plain
    return {
        "format": 1,
        "model": plain(results.report.models[0].called),
        "weights_sha256": results.report.models[0].card.weights_sha256,
        "goals": plain(list(results.goals)),
        "methods": plain(list(results.methods)),
        "groups": [plain(rate) for _, rates in results.report.group_rates for rate in rates]
        + plain(list(results.skin_tone)),
        "skin_tone_note": results.skin_tone_note,
        "served": {
            medium: {"evaluation": judged, "scan": scanned}
            for medium, (judged, scanned) in results.served.items()
        },
        "seconds": round(results.seconds, 1),
    }


def show(results: Results) -> None:
    """The same tables as `write` gives, for a terminal."""
    screen = console()
    screen.print(goals.of_card(results.report.models[0].card).replace("`", ""))
    for title, head, rows in tables(results):
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        screen.print(table)
    screen.print(f"{results.seconds:.0f} s")


def tables(results: Results) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of every table."""
    yield "Goals", ["goal", "wished", "measured", "", "of"], [_goal(each) for each in results.goals]
    head = ["method", "medium", "fakes", "of sources trained on", "AUC against all reals of dev"]
    yield (
        "Methods",
        head,
        [[m.name, str(m.medium), str(m.fakes), str(m.seen), cell(m.auc)] for m in results.methods],
    )
    rates = [rate for _, found in results.report.group_rates for rate in found]
    head = ["real photos", "", "media", "called fake", "rate", "ratio to the average"]
    yield "Who is wrongly accused (dev)", head, [_rate(rate) for rate in rates]
    if results.skin_tone:
        title = f"By skin tone ({results.skin_tone_note})"
        yield title, head, [_rate(rate) for rate in results.skin_tone]
    if results.served:
        yield (
            "Serving equals training",
            ["medium", "evaluation", "scan", "apart"],
            [
                [f"{medium}s", f"{a:.4f}", f"{b:.4f}", f"{abs(a - b):.4f}"]
                for medium, (a, b) in results.served.items()
            ],
        )


def _goal(goal: Goal) -> list[str]:
    word = {True: "met", False: "not met", None: "not measured"}[goal.met]
    return [goal.what, goal.wish, cell(goal.measured), word, goal.note]


def _rate(rate: Rate) -> list[str]:
    counts = [str(rate.real), str(rate.accused)]
    return [rate.attribute, rate.group, *counts, cell(rate.rate), cell(rate.ratio)]


def write(results: Results, path: Path) -> None:
    """Replace what stands between the marks of a document; put at its end where there are none."""
    marked.replace(path, MARK, _markdown(results))


def _markdown(results: Results) -> Iterator[str]:
    trained = results.report.models[0]
    yield "## The goals, measured again"
    yield ""
    yield f"    make results    # {results.seconds / 60:.0f} minutes here; --write puts this here"
    yield ""
    yield f"{goals.of_card(trained.card)}. Brackets are 95% intervals. A method's fakes stand"
    yield "against all real media of their kind in `dev`."
    for title, head, rows in tables(results):
        yield f"\n### {title}\n"
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        yield from ("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows)
    if results.report.treatments:
        yield (
            "\nTreatments: "
            + "; ".join(f"*{each.name}*: {each.means}" for each in TREATMENTS.values())
            + "."
        )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
