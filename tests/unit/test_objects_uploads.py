"""Names of uploads say when they began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.objects import uploads


def test_names_are_unlike_and_sorted_by_their_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(
        [1_790_000_000_000_000_000, 1_790_000_000_001_000_000, 1_790_000_000_001_000_000]
    )
    monkeypatch.setattr(uploads.time, "time_ns", lambda: next(moments))
    first, second, third = (uploads.new_name() for _ in range(3))
    assert all(uploads.NAME.fullmatch(name) for name in (first, second, third))
    assert first < second
    assert second[:12] == third[:12]
    assert second != third


def test_a_name_is_read_back_to_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.time, "time_ns", lambda: 1_790_000_000_123_000_000)
    begun = datetime.fromtimestamp(1_790_000_000, UTC) + timedelta(milliseconds=123)
    name = uploads.new_name()
    assert uploads.begun_at(f"s3://bucket/inbox/key/{name}") == begun
    assert uploads.begun_at(f"file:///data/uploads/key/{name}.part") == begun


@pytest.mark.parametrize(
    "name", ["holiday.jpg", "0" * 32, "f" * 12 + "7" + "0" * 19, "7" * 31, "7" * 33]
)
def test_what_was_named_by_others_has_no_moment(name: str) -> None:
    assert uploads.begun_at(f"s3://bucket/inbox/{name}") is None
