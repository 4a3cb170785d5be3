"""Broken media by the thousand through the real decoders and the real model: `make fuzz`.

What decodes is judged, what does not is refused with a code, and whatever a file does to its helper
process, the process that scans goes on. That process is a child of this one, so that its death
would be counted and not be ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import torch

from core.errors import DecoderCrashed, DecoderOutOfMemory, DecoderTimeout
from core.vocabulary import SamplingPlan
from detector.analyze import Analysis, Analyzer
from detector.decode import decode_ahead
from detector.faces import FaceFinder
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits
from tests.drill import small_model
from tests.drill.mutants import Mutant, mutants, seeds

#: What one file may take: enough for a sound one on a busy machine, little for a bomb.
LIMITS = IsolationLimits(memory_bytes=2 << 30, cpu_s=10.0, wall_s=40.0)
_MAX_PIXELS = 4_000_000
_PLAN = SamplingPlan.parse("uniform:2")


@dataclass(kw_only=True)
class Report:
    """What became of the mutants."""

    tried: int = 0
    judged: int = 0
    #: By code.
    refused: Counter[str] = field(default_factory=Counter)
    #: Names of the mutants that took their helper with them, or had to be stopped.
    crashed: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    out_of_memory: list[str] = field(default_factory=list)
    #: Deaths of the process that scans.
    deaths: int = 0
    #: Of the process that scans, and of the largest helper, MiB.
    peak_scanning_mib: int = 0
    peak_helper_mib: int = 0

    def add(self, other: Report) -> None:
        """Take in what a later process found."""
        self.tried += other.tried
        self.judged += other.judged
        self.refused += other.refused
        self.crashed += other.crashed
        self.hung += other.hung
        self.out_of_memory += other.out_of_memory
        self.peak_scanning_mib = max(self.peak_scanning_mib, other.peak_scanning_mib)
        self.peak_helper_mib = max(self.peak_helper_mib, other.peak_helper_mib)

    @property
    def is_sound(self) -> bool:
        """Every mutant was judged or refused, and the scanning process lived."""
        return self.deaths == 0 and self.tried == self.judged + sum(self.refused.values())


@dataclass(frozen=True, kw_only=True)
class _Source:
    mutant: Mutant
    plan: SamplingPlan = _PLAN
    limits: Limits = field(default_factory=lambda: Limits(max_pixels=_MAX_PIXELS))

    @property
    def key(self) -> Hashable:
        return self.mutant.name

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        yield cast("BinaryIO", io.BytesIO(self.mutant.data))


def scan(media: Path | None, count: int, *, first: int = 0, workers: int = 2) -> Report:
    """Put the mutants `first` to `count` through decoders and model, in this process."""
    torch.set_num_threads(1)
    finder = FaceFinder(detect_side_px=160)
    analyzer = Analyzer(finder, small_model.scorer(), frame_batch=16, face_batch=16)
    report = Report()
    sources = (_Source(mutant=each) for each in mutants(seeds(media), count, first=first))
    with DecodePool(workers, LIMITS) as pool:
        events = decode_ahead(sources, pool, workers=workers)
        for result in analyzer.run(events):
            _count(report, result)
    report.peak_scanning_mib = _peak_mib(resource.RUSAGE_SELF)
    report.peak_helper_mib = _peak_mib(resource.RUSAGE_CHILDREN)
    return report


def _count(report: Report, result: Analysis | object) -> None:
    report.tried += 1
    if isinstance(result, Analysis):
        report.judged += 1
        return
    error, name = result.error, str(result.key)  # type: ignore[attr-defined]
    report.refused[error.code] += 1
    places = (
        (DecoderCrashed, report.crashed),
        (DecoderTimeout, report.hung),
        (DecoderOutOfMemory, report.out_of_memory),
    )
    for kind, place in places:
        if isinstance(error, kind):
            place.append(name)


def _peak_mib(who: int) -> int:
    return resource.getrusage(who).ru_maxrss >> 10


# --- from the command line ------------------------------------------------------------------------


def main() -> int:
    """Run it and print the table; 1 where the scanning process died or a mutant is unaccounted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    media = _media()
    if options.inside:
        logging.disable(logging.CRITICAL)
        _tell_progress(options.first)
        report = scan(media, options.count, first=options.first)
        sys.stdout.write(json.dumps(vars(report)))
        return 0
    began = time.monotonic()
    report = _in_children(options.count)
    _print(report, media, time.monotonic() - began)
    return 0 if report.is_sound else 1


#: Mutants that one scanning process takes: a death would cost the account of no more than these.
_SHARE = 500


def _in_children(count: int) -> Report:
    """Scan in child processes, one share after the other; what a dead one knew is not counted."""
    whole = Report()
    for first in range(0, count, _SHARE):
        until = min(count, first + _SHARE)
        child = subprocess.run(
            [
                *(sys.executable, "-m", "tests.drill.fuzz", "--inside"),
                *("--first", str(first), "--count", str(until)),
            ],
            stdout=subprocess.PIPE,
            check=False,
        )
        if child.returncode:
            whole.deaths += 1
            whole.tried += until - first
            continue
        found = json.loads(child.stdout)
        whole.add(Report(**found | {"refused": Counter(found["refused"])}))
    return whole


def _tell_progress(first: int) -> None:
    sys.stderr.write(f"from number {first} on\n")


def _media() -> Path | None:
    root = Path(__file__).parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("DEEPSWEEP_MEDIA", root))
    return root if (root / "robustness").is_dir() else None


def _print(report: Report, media: Path | None, seconds: float) -> None:
    helpers_lost = len(report.crashed) + len(report.hung) + len(report.out_of_memory)
    rows = [
        ("sound media to begin with", len(seeds(media))),
        ("tried", report.tried),
        ("judged", report.judged),
        ("refused", sum(report.refused.values())),
        ("helpers lost (contained)", helpers_lost),
        ("  of these crashed", len(report.crashed)),
        ("  of these hung, stopped at their limit", len(report.hung)),
        ("  of these out of memory, at their limit", len(report.out_of_memory)),
        ("deaths of the scanning process", report.deaths),
        ("peak memory of the scanning process, MiB", report.peak_scanning_mib),
        ("peak memory of the largest helper, MiB", report.peak_helper_mib),
        ("seconds", round(seconds)),
    ]
    lines = [f"{name:<44}{value:>8}" for name, value in rows]
    lines += ["", "refused by code:"]
    lines += [f"  {code:<42}{number:>8}" for code, number in report.refused.most_common()]
    lines += [f"lost its helper: {name}" for name in (*report.crashed, *report.hung)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
