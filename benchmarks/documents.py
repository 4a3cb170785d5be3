"""The documents that deepsweep began with: what each printed, and what its system scores here.

    python -m benchmarks.systems --snapshot all --data ../shared/data --write   # docs/systems.json
    python -m benchmarks.documents --write                                      # docs/documents.md

Without --write the page is printed. Our figures are those of docs/systems.json; a system that is
not in it has a dash.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import systems_table
from benchmarks.systems_table import Measured
from cli.outputs import replacing
from detector import architectures
from training.evaluation import cell

PAGE = systems_table.DOCS / "documents.md"


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One network of a document."""

    name: str
    #: What the document prints of it.
    printed: str
    #: Its own count of parameters; "" where it gives none.
    parameters: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One document."""

    title: str
    #: What it trained and tested on.
    data: str
    #: Why its figures and ours are not to be compared.
    apart: str
    systems: tuple[Printed, ...]


SOURCES = (
    Source(
        title="Salpekar: DeepFake Image Detection",
        data="Frames of DFDC videos at 224 px without cropping faces; 80% fakes. 100,000 frames "
        "train, 4,902 validate.",
        apart="Its figures are of validation data that also decided when to stop (at 94%) and when "
        "to slow down (at 89%); with 80% fakes, calling everything fake scores 0.80. Whole frames, "
        "not faces. Ours are AUC on people and sources never trained on.",
        systems=(
            Printed(
                name="salpekar-cffn",
                printed="accuracy 0.914 (validation), precision 0.938, recall 0.956, F1 0.947",
            ),
        ),
    ),
    Source(
        title="Hansson, Holmqvist, Al Tariq: CNN against transfer learning",
        data="190,305 face JPEGs of 256 px, about half fake; 10,905 test.",
        apart="Train and test come from one set, so the same makers' fakes stand on both sides; "
        "its sensitivity is the recall of REAL faces, here recall is that of fakes.",
        systems=(
            Printed(
                name="hansson-cnn",
                printed="accuracy 0.874; recall of reals 0.823, of fakes 0.924",
                parameters="4,853,569",
            ),
            Printed(
                name="hansson-densenet121",
                printed="accuracy 0.903; recall of reals 0.873, of fakes 0.932",
                parameters="7,480,193",
            ),
        ),
    ),
    Source(
        title="Torlapati: Deep Fake Face Detection",
        data="CelebA photos against StyleGAN faces, 10,000 each, 224 px.",
        apart="One generator, and reals of another source than the fakes: format, cropping and "
        "background can tell the label. It compares models by validation loss. Keras' ResNet50 "
        "has 26,560 biases that torchvision's has not, so its count is 24,095,169 here.",
        systems=(
            Printed(name="torlapati-1", printed="-", parameters="3,117,858"),
            Printed(name="torlapati-2", printed="-", parameters="99,142,978"),
            Printed(
                name="torlapati-densenet121",
                printed="lowest validation loss of its three bases",
                parameters="7,305,281 (Keras)",
            ),
            Printed(
                name="torlapati-xception",
                printed="the quickest to train",
                parameters="20,879,913 (Keras)",
            ),
            Printed(
                name="torlapati-resnet50",
                printed="highest validation loss",
                parameters="24,121,729 (Keras)",
            ),
        ),
    ),
    Source(
        title="Spagnola: Deepfake Image Detection",
        data="142,286 face images of 64 px, half fake.",
        apart="One set on both sides, as above; a false alarm is preferred to a miss, so its "
        "threshold differs. 64 px leave little of what our fakes show.",
        systems=(
            Printed(name="spagnola-baseline", printed="the starting point"),
            Printed(name="spagnola-tuned", printed="better than the baseline"),
            Printed(name="spagnola-xception", printed="the most accurate with its base re-trained"),
            Printed(name="spagnola-ensemble", printed="about 1% of accuracy more"),
        ),
    ),
    Source(
        title="Che, Ingham: Identifying Deepfake Videos with CNNs",
        data="17,646 face images from 13,122 DFDC videos; 1,488 test, and 7,368 more of other "
        "videos and actors.",
        apart="DFDC on both sides; the extra set is of other actors but of the same generators. "
        "Its label 1 is REAL. The shapes it prints need an input of 256 px, not the 252 it names.",
        systems=(
            Printed(
                name="che-cnn",
                printed="accuracy 0.841 (test and extra set), precision 0.865, recall 0.810, "
                "log loss 0.51",
                parameters="562,901",
            ),
            Printed(
                name="che-efficientnet-b0",
                printed="low 0.80s of accuracy, 3% less after 15 epochs",
            ),
        ),
    ),
)


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--systems", type=Path, default=systems_table.FIGURES,
                        help="what benchmarks.systems measured (docs/systems.json)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"to {PAGE.name} instead")
    asked = parser.parse_args()
    measured = systems_table.read(asked.systems) if asked.systems.exists() else None
    page = "\n".join(_lines(measured)) + "\n"
    if not asked.write:
        print(page)
        return
    with replacing(str(PAGE)) as stream:
        stream.write(page)


def _lines(measured: Measured | None) -> Iterator[str]:
    yield "# The documents deepsweep began with"
    yield ""
    yield "What each of the five documents printed of its systems, and what the same systems score"
    yield "here, all trained on one snapshot with one small budget. **The two columns are not to be"
    yield "compared**: under each table stands why. What can be compared is our column, line by"
    yield "line, as far as its 95% intervals allow it."
    yield ""
    yield "    python -m benchmarks.systems --snapshot all --data ../shared/data --write"
    yield "    python -m benchmarks.documents --write"
    yield ""
    if measured is None:
        yield "Our column is empty: the first command has not been run on this checkout."
    else:
        yield from _budget(measured)
    yield ""
    for source in SOURCES:
        yield from _section(source, measured)


def _budget(measured: Measured) -> Iterator[str]:
    asked = measured.asked
    sets = "; ".join(f"{name}: {counts}" for name, counts in asked.sets.items())
    yield f"Ours: {asked.budget_s:g} processor seconds of training each, in steps of at most"
    yield f"{asked.batch} crops, where the documents trained for hours; bases start from random"
    yield "weights where ImageNet's were not at hand (docs/results.md names them). AUC of media"
    yield f"that nothing was trained on ({sets})."


def _section(source: Source, measured: Measured | None) -> Iterator[str]:
    sets = list(measured.asked.sets) if measured else []
    known = {system.name: system for system in measured.systems} if measured else {}
    ours = [f"our AUC, {name}" for name in sets] or ["our AUC"]
    head = ["system", "parameters printed", "parameters here", "the document's figure", *ours]
    yield f"## {source.title}"
    yield ""
    yield f"Data: {source.data}"
    yield ""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for system in source.systems:
        yield "| " + " | ".join(_cells(system, known.get(system.name), sets)) + " |"
    yield ""
    yield f"Why they are not comparable: {source.apart}"
    yield ""


def _cells(
    printed: Printed, ours: systems_table.System | None, sets: Sequence[str]
) -> Iterator[str]:
    counted = ours.parameters if ours else architectures.find(printed.name).parameters
    yield f"`{printed.name}`"
    yield printed.parameters or "-"
    yield f"{counted:,}" if counted else "-"
    yield printed.printed
    yield from [cell(ours.auc.get(name)) if ours else "-" for name in sets] or ["-"]


if __name__ == "__main__":
    main()
