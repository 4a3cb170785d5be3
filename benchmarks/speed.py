"""Every row of docs/performance.md in one table: ours, theirs, the ratio, and what was asked for.

    python -m benchmarks.speed            # also: make bench
    python -m benchmarks.speed --quick    # one round each: a look, no measurement
    python -m benchmarks.speed --write    # into docs/performance.md and README.md as well

Both sides of a row run in turns in one process, each once to warm up and then at least five times;
medians are compared. Processor time counts the decoder helpers, too. Networks use one thread each;
cv2 decodes with as many as it likes. Media are made on the spot, but for the 720p frames and some
films, which are labelled ones where there are any. Each part that was measured is kept in
`out/bench/speed.json`, so that `--parts` renews a part of the table.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import torch
from rich.console import Console

from benchmarks import classifier, faces, media, naive, speed_table, stored, timing
from benchmarks.speed_table import Cells
from core.vocabulary import EngineChoice, SamplingPlan
from detector import artifact, videos
from detector.analyze import Analysis, Analyzer
from detector.decode import decode_ahead
from detector.faces import FaceFinder
from detector.frames import Frame
from detector.isolation import DecodePool, IsolationLimits
from detector.media import Limits, probe
from detector.sampling import wanted_frames
from detector.score import Scorer

FRAMES = 16
EXACT, NEAR_KEYFRAMES = (
    SamplingPlan.parse(f"{kind}:{FRAMES}") for kind in ("uniform", "keyframes")
)
WIDTH, HEIGHT, SECONDS = 1920, 1080, 10
#: What films of that size have on the web.
STREAM_BITS_PER_S = 5_000_000
#: A picture of two megapixels.
STILL = (1632, 1224)
PARTS = ("faces", "classifier", "decode", "bytes", "video", "image")
#: Asked for of nearest keyframes: must, stretch.
KEYFRAME_TARGETS = {"must": 12.0, "stretch": 20.0}
#: Labelled films that are decoded, of at least so many rows.
FILMS, FILM_ROWS = 8, 480


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file to be judged, as the decoders take it."""

    path: Path
    plan: SamplingPlan
    key: int = 0
    limits: Limits = field(default_factory=Limits)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The file's bytes."""
        return self.path.open("rb")


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What is loaded once and measured often."""

    pool: DecodePool
    device: torch.device

    def analyzer(self, finder: FaceFinder) -> Analyzer:
        """The shipped model behind a finder, with the batches of a scan."""
        module, card = artifact.load()
        scorer = Scorer(module, card, device=self.device, engine=EngineChoice.AUTO)
        return Analyzer(finder, scorer, frame_batch=FRAMES, face_batch=32)

    def judge(self, analyzer: Analyzer, path: Path, plan: SamplingPlan) -> Analysis:
        """One file from its bytes to its verdict."""
        events = decode_ahead(iter([Item(path=path, plan=plan)]), self.pool, workers=1)
        (result,) = analyzer.run(events)
        if not isinstance(result, Analysis):
            raise result.error
        return result

    def frames(self, path: Path, plan: SamplingPlan) -> list[Frame]:
        """The frames of a plan, out of a helper process."""
        with path.open("rb") as file:
            parts = list(self.pool.decode(file, plan, Limits()))
        return [part for part in parts if isinstance(part, Frame)]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured, how often, and on what."""

    folder: Path
    rounds: int
    least: int
    device: torch.device
    detector: Detector

    def film(self, keyframe_every: int, bits_per_s: int | None = None) -> Path:
        """Ten seconds of 1080p."""
        name = f"every-{keyframe_every}" + (f"-{bits_per_s}" if bits_per_s else "")
        return media.film(
            self.folder / f"{name}.mp4",
            width=WIDTH,
            height=HEIGHT,
            seconds=SECONDS,
            keyframe_every=keyframe_every,
            bits_per_s=bits_per_s,
        )

    def minute(self) -> Path:
        """Six times a film of ten seconds as a website sends it."""
        every_two = self.film(media.EVERY_TWO_SECONDS, bits_per_s=STREAM_BITS_PER_S)
        return media.repeated(self.folder / "minute.mp4", every_two, times=6)

    def row(
        self,
        part: str,
        against: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        **targets: float,
    ) -> Cells:
        """Both sides in turns."""
        ways = {"ours": ours, "theirs": theirs}
        taken = timing.measure(ways, pieces=1, rounds=self.rounds, least=self.least)
        row = timing.Row(
            part=part, against=against, ours=taken["ours"], theirs=taken["theirs"], **targets
        )
        return timing.cells(row)


def rows_of_faces(bench: Bench) -> Iterator[Cells]:
    """MTCNN over frames of 720p."""
    frames, origin = faces.frames_of_size(faces.labelled_media(), 1280, 720, 8)
    rows, _ = faces.compare(frames, rounds=bench.rounds, least=bench.least, device=bench.device)
    for row in rows:
        yield (f"{row.part}, 720p, {origin}", *timing.cells(row)[1:])


def rows_of_classifier(bench: Bench) -> Iterator[Cells]:
    """Crops in batches of sixteen."""
    for network in classifier.networks():
        rows = classifier.compare(
            network, batch=16, rounds=bench.rounds, least=bench.least, device=bench.device
        )
        for row in rows:
            yield (f"classifier, {row.part}", *timing.cells(row)[1:])


def rows_of_decode(bench: Bench) -> Iterator[Cells]:
    """Sixteen frames of 1080p out of a helper process, or as many as there are keyframes."""
    for every, plan, targets in (
        (media.ENCODERS_OWN, EXACT, {"must": 1.3, "must_wall": 2.0}),
        (media.EVERY_TWO_SECONDS, EXACT, {}),
        (media.EVERY_HALF_SECOND, NEAR_KEYFRAMES, KEYFRAME_TARGETS),
        (media.EVERY_TWO_SECONDS, NEAR_KEYFRAMES, KEYFRAME_TARGETS),
    ):
        what = f"1080p {SECONDS} s, keyframe every {every / media.FPS:.3g} s"
        yield row_of_films(bench, [bench.film(every)], plan, what, targets)
    what = "1080p 60 s, 5 Mbit/s, keyframe every 2 s"
    yield row_of_films(bench, [bench.minute()], NEAR_KEYFRAMES, what, KEYFRAME_TARGETS)
    films = labelled_films()
    if films:
        what = f"{len(films)} labelled films"
        yield row_of_films(bench, films, EXACT, what, {})
        yield row_of_films(bench, films, NEAR_KEYFRAMES, what, KEYFRAME_TARGETS)


def row_of_films(
    bench: Bench,
    films: Sequence[Path],
    plan: SamplingPlan,
    what: str,
    targets: Mapping[str, float],
) -> Cells:
    """Both sides decode the same frames of each film."""
    wanted = [planned(path, plan) for path in films]

    def ours() -> None:
        for path in films:
            bench.detector.frames(path, plan)

    def theirs() -> None:
        for path, frames in zip(films, wanted, strict=True):
            naive.read(path, FRAMES, frames)

    used = sum(map(len, wanted))
    part = f"{plan}, {what} ({used} frames used)"
    return bench.row(part, "cv2 in sequence", ours, theirs, **targets)


def labelled_films() -> list[Path]:
    """Some of the labelled films that are not small, evenly picked."""
    folder = faces.labelled_media()
    if folder is None:
        return []
    found = []
    for path in naive.find_files(folder):
        with path.open("rb") as file:
            info = probe(file, Limits())
        if min(info.width, info.height) >= FILM_ROWS:
            found.append(path)
    return found[:: max(1, len(found) // FILMS)][:FILMS]


def planned(path: Path, plan: SamplingPlan) -> list[int]:
    """The frames that a plan asks for, so that the other side decodes the same."""
    data = io.BytesIO(path.read_bytes())
    info = probe(data, Limits())
    table = videos.read_table(data, info.format, Limits().max_pixels)
    return wanted_frames(plan, table.timeline, ticks_per_s=float(1 / table.time_base))


def rows_of_bytes(bench: Bench) -> Iterator[Cells]:
    """What is fetched of a minute of 1080p in S3."""
    minute = bench.minute()
    size = minute.stat().st_size
    with stored.in_s3(minute) as fetched:
        for plan, must, stretch in ((EXACT, 0.50, 0.41), (NEAR_KEYFRAMES, 0.20, 0.15)):
            taken, frames = fetched(bench.detector.pool, plan)
            share = taken / size
            yield (
                f"bytes, {plan}, 1080p 60 s in S3, 5 Mbit/s, keyframe every 2 s ({frames} frames)",
                "whole file",
                f"{taken / 1e6:.1f} MB",
                f"{size / 1e6:.1f} MB",
                f"{share:.0%}",
                "",
                f"{must:.0%} {timing.mark(share <= must)}",
                f"{stretch:.0%} {timing.mark(share <= stretch)}",
            )


def rows_of_video(bench: Bench) -> Iterator[Cells]:
    """One film from its bytes to its verdict, networks loaded."""
    own, dense, usual = map(
        bench.film, (media.ENCODERS_OWN, media.EVERY_HALF_SECOND, media.EVERY_TWO_SECONDS)
    )
    script = naive.Script(frames=FRAMES, model=artifact.DEFAULT_FOLDER, device=str(bench.device))
    reduced = FaceFinder(device=bench.device, engine=EngineChoice.AUTO)
    # As the script looks: at full frames, for faces from 20 px, as sure as MTCNN itself asks for.
    full = FaceFinder(
        device=bench.device,
        engine=EngineChoice.AUTO,
        min_face_px=20,
        min_confidence=0.0,
        detect_side_px=max(WIDTH, HEIGHT),
    )
    for name, path, plan, finder, must, stretch in (
        ("same frames, same face sizes", own, EXACT, full, 3.0, 4.0),
        ("exact frames, reduced for faces", own, EXACT, reduced, 4.0, 5.5),
        ("keyframes, reduced for faces", dense, NEAR_KEYFRAMES, reduced, 15.0, 22.0),
    ):
        analyzer, wanted = bench.detector.analyzer(finder), planned(path, plan)
        yield bench.row(
            f"one video end to end, {name} ({len(wanted)} frames)",
            "naive script",
            partial(bench.detector.judge, analyzer, path, plan),
            partial(script.scan, path, wanted),
            must=must,
            stretch=stretch,
        )
    frames = len(planned(usual, NEAR_KEYFRAMES))
    yield bench.row(
        f"one video end to end, keyframe every 2 s, reduced for faces ({frames} frames)",
        f"naive script, its {FRAMES} frames",
        partial(bench.detector.judge, bench.detector.analyzer(reduced), usual, NEAR_KEYFRAMES),
        partial(script.scan, usual),
        must=15.0,
        stretch=22.0,
    )


def rows_of_image(bench: Bench) -> Iterator[Cells]:
    """One photograph from its bytes to its verdict, networks loaded."""
    path = bench.folder / "still.jpg"
    path.write_bytes(media.still(*STILL))
    script = naive.Script(frames=1, model=artifact.DEFAULT_FOLDER, device=str(bench.device))
    finder = FaceFinder(device=bench.device, engine=EngineChoice.AUTO)
    analyzer = bench.detector.analyzer(finder)
    yield bench.row(
        "one image of 2 megapixels end to end",
        "naive script",
        lambda: bench.detector.judge(analyzer, path, EXACT),
        lambda: script.scan(path),
        must=6.0,
        stretch=9.0,
    )


ROWS: dict[str, Callable[[Bench], Iterator[Cells]]] = {
    "faces": rows_of_faces,
    "classifier": rows_of_classifier,
    "decode": rows_of_decode,
    "bytes": rows_of_bytes,
    "video": rows_of_video,
    "image": rows_of_image,
}


def main() -> None:
    """The command line."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = timing.console()
    device = torch.device(arguments.device)
    rounds = 1 if arguments.quick else max(arguments.rounds, timing.LEAST_ROUNDS)
    title = f"median of {rounds} round{'s' if rounds > 1 else ': a look, no measurement'}"
    load = os.getloadavg()[0]
    table = timing.blank(title, "ours\nCPU ms", "theirs\nCPU ms")
    with _folder(arguments.media) as folder, DecodePool(1, IsolationLimits()) as pool:
        bench = Bench(
            folder=folder,
            rounds=rounds,
            least=1 if arguments.quick else timing.LEAST_ROUNDS,
            device=device,
            detector=Detector(pool=pool, device=device),
        )
        for part in arguments.parts.split(","):
            began = speed_table.now(device, rounds)
            rows = _added(table.add_row, ROWS[part](bench), console)
            if not arguments.quick:
                speed_table.keep(part, rows, began)
    console.print(table)
    console.print(f"{timing.machine()} ({load:.1f} at the start); {device}; one thread a network")
    if arguments.write:
        speed_table.write(PARTS)


def _added(add: Callable[..., None], rows: Iterator[Cells], console: Console) -> list[Cells]:
    done = []
    for row in rows:
        done.append(row)
        add(*row)
        # Each row as soon as it is there: the whole takes minutes.
        console.print(f"[dim]{' | '.join(row)}[/]", highlight=False)
    return done


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
    with nullcontext(str(given)) if given else tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _parts(text: str) -> str:
    unknown = set(text.split(",")) - set(PARTS)
    if unknown:
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return text


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Ours beside what one would do without us: every part, one table.",
        epilog="example: python -m benchmarks.speed --parts decode,bytes --rounds 9",
    )
    parser.add_argument("--quick", action="store_true", help="one round each")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, five at least (5)")
    parser.add_argument("--parts", type=_parts, default=",".join(PARTS), help="which rows (all)")
    parser.add_argument("--media", type=Path, help="keep the made media here for the next run")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--write", action="store_true", help="into the documents, too")
    arguments = parser.parse_args(given)
    if arguments.write and arguments.quick:
        parser.error("--quick is no measurement: nothing is written of it")
    return arguments


if __name__ == "__main__":
    main()
