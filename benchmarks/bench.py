"""Everything that is measured, one part after the other, and what was asked for beside it.

    make bench                       # a look at the bulk, the whole of everything else
    make bench ARGS=--full           # twenty thousand pictures, a hundred thousand, four workers
    make bench ARGS=--quick          # one round of each part: does it run?

Each part is a process of its own that prints its table; what was asked for of whole scans comes at
the end, and what could not be measured has a row that says why. A part that fails is named there,
and the others go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import torch
from rich.table import Table

from benchmarks import adaptive, bulk, faces, growth, stored, timing, workers

Cells = tuple[str, ...]
#: No part takes longer; one that does is ended.
_LONGEST_S = 3600.0


def parts(options: argparse.Namespace) -> dict[str, list[str]]:
    """The modules and what each is given."""
    if options.quick:
        speed, scan = ["--quick"], ["--runs", "1", "--limit", "8"]
        pictures, sizes, several = "200", "200,400", ["--items", "40", "--rounds", "1"]
    elif options.full:
        speed, scan = [], []
        pictures, sizes, several = "20000", "1000,10000,100000", ["--items", "600"]
    else:
        speed, scan = [], []
        pictures, sizes, several = "2000", "500,5000", ["--items", "300", "--rounds", "1"]
    write = ["--write"] if options.write else []
    asked = {
        "speed": [*speed, *write],
        "scan": scan,
        "stored": ["--items", pictures, *write],
        "growth": ["--items", sizes, *write],
        "workers": ["--workers", "1,2,4" if options.full else "1,2", *several, *write],
    }
    # The same script on the processor says nothing that the others do not.
    if torch.cuda.is_available() and find_spec("benchmarks.gpu"):
        asked["gpu"] = ["--quick"] if options.quick else []
    labelled = faces.labelled_media()
    if labelled is not None and not options.quick:
        some = [str(labelled.parent), "--step", "8", "--frames", "2"]
        asked |= {"adaptive": [str(labelled.parent), *write], "agreement": some}
    return asked


def rows() -> Iterator[Cells]:
    """What was asked for of whole scans, from what was kept of the last ones."""
    for run in bulk.kept(stored.KEPT):
        yield from _of_stored(run)
    runs = bulk.kept(growth.KEPT)
    if len(runs) > 1:
        yield from _of_growth(runs[0], runs[-1])
    if workers.KEPT.exists():
        for each in json.loads(workers.KEPT.read_text()):
            yield from _of_workers(workers.Line(**each))
    yield _of_adaptive()
    on_gpu = "see above" if torch.cuda.is_available() else "not measured: none here"
    yield ("a GPU, end to end", "MTCNN and batch 1 on it", "", "", on_gpu, "10x")


def _of_stored(run: bulk.Run) -> Iterator[Cells]:
    items = f"{run.done:,} pictures"
    limit, seconds = run.limit
    good = timing.mark(run.ratio <= stored.RATIO)
    yield (
        f"overlap, {items}",
        f"wall s / {limit} s",
        f"{run.wall_s:.0f}",
        f"{seconds:.0f}",
        f"{run.ratio:.2f}",
        f"{stored.RATIO} {good}",
    )
    for stage, fill in run.fill.items():
        good = timing.mark(fill >= stored.FILL)
        yield (
            f"batches full, {stage}",
            items,
            "",
            "",
            f"{fill:.0%}",
            f"{stored.FILL:.0%} {good}",
        )
    for what, taken in (
        ("time for writing rows, beside all else", run.write_share),
        ("processor time for writing rows", run.write_cpu_share),
    ):
        good = timing.mark(taken < stored.ROWS)
        yield (what, items, "", "", f"{taken:.1%}", f"{stored.ROWS:.0%} {good}")
    memory = [f"{run.memory_at(part):.0f}" for part in (1.0, 0.1)]
    yield ("memory, MiB", "at a tenth of the run", *memory, "", "flat")


def _of_growth(first: bulk.Run, last: bulk.Run) -> Iterator[Cells]:
    ratio = last.cpu_ms / first.cpu_ms
    yield (
        f"CPU ms an item of {last.done:,}",
        f"of {first.done:,}",
        f"{last.cpu_ms:.1f}",
        f"{first.cpu_ms:.1f}",
        f"{ratio:.2f}",
        f"{growth.STRAIGHT} {timing.mark(ratio <= growth.STRAIGHT)}",
    )


def _of_workers(line: workers.Line) -> Iterator[Cells]:
    if line.workers > 1:
        rate = f"{line.items_per_s:.1f}/s"
        against = f"1, storage {line.storage}"
        share = f"cores {line.cores_share:.0%}"
        yield (f"{line.workers} workers", against, rate, "", f"{line.ratio:.2f}x", share)


def _of_adaptive() -> Cells:
    """Frames beside all that it may take; asked for is an area under the curve that is no less."""
    if not adaptive.KEPT.exists():
        why = "needs labelled media, in DEEPSWEEP_MEDIA" if faces.labelled_media() is None else ""
        return (
            "adaptive sampling",
            "uniform:32",
            "",
            "",
            "not measured",
            why or "--only adaptive",
        )
    found = adaptive.Outcome(**json.loads(adaptive.KEPT.read_text()))
    areas = f"AUC {found.auc:.3f}, {found.whole_auc:.3f}"
    return (
        f"frames, {found.plan}, {found.films} films",
        found.whole_plan,
        str(found.frames),
        str(found.all_frames),
        f"{found.saved:.0%} saved",
        f"{areas} {timing.mark(found.auc >= found.whole_auc)}",
    )


def table() -> None:
    """Print what was asked for of whole scans."""
    console = timing.console()
    shown = Table(title="whole scans", title_justify="left")
    for name in ("part", "against"):
        shown.add_column(name)
    # Some say in words why there is no figure.
    for name in ("ours", "theirs", "ratio", "must"):
        shown.add_column(name, justify="right")
    for cells in rows():
        shown.add_row(*cells)
    console.print(shown)
    console.print(timing.machine())


def main() -> None:
    """Run the parts, print the last table; status 1 where a part failed."""
    options = _options()
    failed = []
    for name, arguments in parts(options).items():
        if options.only and name not in options.only.split(","):
            continue
        began = time.monotonic()
        if not _done(name, arguments):
            failed.append(name)
        print(f"--- benchmarks.{name}: {time.monotonic() - began:.0f} s", flush=True)
    table()
    if failed:
        raise SystemExit(f"These parts failed: {', '.join(failed)}.")


def _done(name: str, arguments: Sequence[str]) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    print(f"--- {' '.join(command[1:])}", flush=True)
    try:
        return not subprocess.run(command, check=False, timeout=_LONGEST_S).returncode
    except subprocess.TimeoutExpired:
        return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description="Everything that is measured, and what was asked for beside it.",
    )
    parser.add_argument("--quick", action="store_true", help="one round of each part, few items")
    parser.add_argument("--full", action="store_true", help="as many items as were asked for")
    parser.add_argument("--only", help="some parts, e.g. stored,growth,workers")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
