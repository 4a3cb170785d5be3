"""What the benchmarks stand on: their media, their arithmetic, and the script that is beaten."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import adaptive, media, naive, timing
from core.vocabulary import MediaKind
from detector.media import Limits, probe
from detector.videos import read_table
from tests import media_factory as make


def timed(cpu_ms: float, wall_ms: float) -> timing.Timing:
    return timing.Timing(cpu_ms=cpu_ms, wall_ms=wall_ms)


def test_a_ratio_says_how_many_times_less_ours_takes() -> None:
    row = timing.Row(
        part="decode", against="cv2", ours=timed(2, 4), theirs=timed(8, 8), must=3, must_wall=2.5
    )
    cells = timing.cells(row)
    assert cells[2:6] == ("2.00", "8.00", "4.00x", "2.00x")
    assert cells[6] == f"3x {timing.mark(True)}, wall 2.5x {timing.mark(False)}"


def test_every_way_is_run_once_a_round_and_once_to_warm_up() -> None:
    runs: list[str] = []
    ways = {name: (lambda name=name: runs.append(name)) for name in "ab"}
    timing.measure(ways, pieces=1, rounds=2, least=2)
    assert sorted(runs) == ["a"] * 3 + ["b"] * 3
    assert runs[:2] != runs[2:4]


def test_the_area_counts_ties_half() -> None:
    assert adaptive.area([(True, 0.9), (False, 0.1)]) == 1.0
    assert adaptive.area([(True, 0.5), (False, 0.5), (True, 0.2), (False, 0.1)]) == 0.625


def test_the_script_reads_the_frames_that_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(make.clip(frames=40))
    pictures = naive.read(path, 4, [3, 17, 38])
    assert [make.number_of(np.asarray(picture)) for picture in pictures] == [3, 17, 38]


def test_the_scene_is_the_same_each_time_and_moves() -> None:
    one, other = media.Scene(192, 108), media.Scene(192, 108)
    assert np.array_equal(one.at(0.5), other.at(0.5))
    assert np.abs(one.at(0.5).astype(int) - one.at(0.9)).mean() > 1


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "short.mp4"
    return media.film(path, width=192, height=108, seconds=1, keyframe_every=10)


def test_a_film_has_its_frames_and_keyframes(short: Path) -> None:
    data = io.BytesIO(short.read_bytes())
    info = probe(data, Limits())
    assert (info.kind, info.width, info.height) == (MediaKind.VIDEO, 192, 108)
    table = read_table(data, info.format, Limits().max_pixels)
    assert len(table.timeline.starts) == media.FPS
    assert {0, 10, 20} <= set(table.timeline.keyframes)


def test_a_repeated_film_is_as_long_and_has_sound(short: Path, tmp_path: Path) -> None:
    path = media.repeated(tmp_path / "long.mp4", short, times=3)
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
        times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert len(set(times)) == len(times) == 3 * media.FPS
