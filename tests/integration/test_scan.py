"""A scan from request to rows: real files, real S3 over HTTP, real decoders, real PostgreSQL."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from core.settings import Settings
from core.vocabulary import SamplingPlan
from tests.integration.s3_fixtures import S3Server
from worker import scan as scanning
from worker.request import ScanOutcome, ScanRequest

PORTRAIT = data.astronaut()


class Diary:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.totals: list[tuple[int, bool]] = []

    def listed(self, total: int, *, complete: bool) -> None:
        self.totals.append((total, complete))

    def finished(self, document: dict[str, Any]) -> None:
        name = document["uri"].rpartition("/")[2]
        assert name not in self.documents, "an item is told once"
        self.documents[name] = document


def jpeg(picture: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "deeper").mkdir(parents=True)
    (root / "face.jpg").write_bytes(jpeg(PORTRAIT))
    (root / "deeper" / "mirrored").write_bytes(jpeg(PORTRAIT[:, ::-1]))
    (root / "wall.png").write_bytes(jpeg(np.full((200, 300, 3), 99, np.uint8)))
    (root / "text.jpg").write_text("a picture, it says")
    (root / "empty.mp4").touch()
    return root


Scan = Callable[..., tuple[ScanOutcome, Diary]]


@pytest.fixture
def scan(scan_settings: Settings, model: str) -> Scan:
    def run(
        *sources: str,
        settings: Settings = scan_settings,
        stop: threading.Event | None = None,
        **changes: Any,
    ) -> tuple[ScanOutcome, Diary]:
        diary = Diary()
        request = ScanRequest(sources=sources, model=model, **changes)
        return scanning.run(settings, request, diary, stop), diary

    return run


def test_every_file_of_a_folder_gets_a_verdict_or_a_reason(scan: Scan, folder: Path) -> None:
    outcome, diary = scan(str(folder))
    assert (outcome.done, outcome.failed, outcome.remaining) == (3, 2, 0)
    assert diary.totals[-1] == (5, True)
    assert {name: document["status"] for name, document in diary.documents.items()} == {
        "face.jpg": "done",
        "mirrored": "done",
        "wall.png": "done",
        "text.jpg": "failed",
        "empty.mp4": "failed",
    }
    assert diary.documents["wall.png"]["verdict"] == "no_face"
    assert diary.documents["wall.png"]["score"] is None
    assert len(diary.documents["face.jpg"]["frames"][0]["faces"]) == 1
    assert diary.documents["text.jpg"]["error"]["code"] == "unsupported_media"
    assert diary.documents["empty.mp4"]["error"]["code"] == "empty_file"


def test_run_again_it_does_only_what_is_missing(scan: Scan, folder: Path) -> None:
    first, _ = scan(str(folder))
    (folder / "new.jpg").write_bytes(jpeg(PORTRAIT[:300]))
    (folder / "wall.png").write_bytes(jpeg(PORTRAIT[:, :400]))
    again, diary = scan(str(folder))
    assert again.scan_id == first.scan_id
    assert again.resumed
    assert set(diary.documents) == {"new.jpg", "wall.png"}
    assert diary.documents["wall.png"]["verdict"] != "no_face"
    assert (again.done, again.failed) == (4, 2)


def test_the_same_folder_named_from_elsewhere_is_the_same_scan(
    scan: Scan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = scan(str(folder))
    monkeypatch.chdir(folder.parent)
    again, diary = scan("media")
    assert again.scan_id == first.scan_id
    assert not diary.documents


def test_equal_bytes_are_scored_once_and_say_so(scan: Scan, folder: Path) -> None:
    scan(str(folder / "face.jpg"))
    (folder / "copy.jpg").write_bytes((folder / "face.jpg").read_bytes())
    _, diary = scan(str(folder / "copy.jpg"))
    copy = diary.documents["copy.jpg"]
    assert copy["shared"] is True
    assert copy["timings_ms"]["score"] == 0
    assert copy["frames"][0]["faces"]


def test_another_plan_is_another_scan(scan: Scan, folder: Path) -> None:
    first, _ = scan(str(folder))
    other, _ = scan(str(folder), plan=SamplingPlan.parse("every:2"))
    assert other.scan_id != first.scan_id


def test_a_source_that_is_not_there_is_a_failed_item_until_it_is(scan: Scan, folder: Path) -> None:
    late = folder / "late.jpg"
    outcome, diary = scan(str(late), str(folder / "face.jpg"))
    assert (outcome.done, outcome.failed) == (1, 1)
    late.write_bytes(jpeg(PORTRAIT[::-1]))
    outcome, diary = scan(str(late), str(folder / "face.jpg"))
    assert (outcome.done, outcome.failed) == (2, 0)
    assert set(diary.documents) == {"late.jpg"}


def test_a_stopped_scan_hands_back_what_it_holds_and_goes_on_later(
    scan: Scan, folder: Path
) -> None:
    stop = threading.Event()
    stop.set()
    stopped, _ = scan(str(folder), stop=stop)
    assert stopped.done == 0
    again, _ = scan(str(folder))
    assert again.scan_id == stopped.scan_id
    assert (again.done, again.failed, again.remaining) == (3, 2, 0)
    assert not again.interrupted


def test_a_prefix_in_s3_is_scanned_over_http(
    scan: Scan, s3_server: S3Server, s3_settings: Settings, scan_settings: Settings
) -> None:
    bucket = s3_server.new_bucket()
    for key, body in {
        "in/face.jpg": jpeg(PORTRAIT),
        "in/deep/odd name#1?.jpg": jpeg(PORTRAIT[:, ::-1]),
        "in/readme.txt": b"not a picture",
        "out/other.jpg": jpeg(PORTRAIT[:400]),
    }.items():
        s3_server.client.put_object(Bucket=bucket, Key=key, Body=body)
    settings = scan_settings.model_copy(update={"s3_endpoint_url": s3_settings.s3_endpoint_url})
    outcome, diary = scan(f"s3://{bucket}/in/", settings=settings)
    assert (outcome.done, outcome.failed) == (2, 1)
    assert set(diary.documents) == {"face.jpg", "odd name#1?.jpg", "readme.txt"}


def test_a_missing_bucket_fails_as_one_item_and_the_rest_goes_on(
    scan: Scan, folder: Path, aws_environment: None, s3_settings: Settings, scan_settings: Settings
) -> None:
    settings = scan_settings.model_copy(update={"s3_endpoint_url": s3_settings.s3_endpoint_url})
    outcome, _ = scan("s3://no-such-bucket/x/", str(folder / "face.jpg"), settings=settings)
    assert (outcome.done, outcome.failed) == (1, 1)


def test_denied_access_fails_as_one_item(
    scan: Scan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything, so the system's answer is made here.
    true_open = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("face.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return true_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    outcome, diary = scan(str(folder))
    assert diary.documents["face.jpg"]["error"]["code"] == "access_denied"
    assert (outcome.done, outcome.failed) == (2, 3)
