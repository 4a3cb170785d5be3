"""Progress as events, over a real connection that stays open."""

from __future__ import annotations

import contextlib
import json

import httpx2 as httpx
import pytest

from api import events, limits
from core.errors import DatabaseUnavailable
from tests.integration.api_fixtures import judged, listed
from tests.integration.db_fixtures import wait_until


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.02)


@contextlib.contextmanager
def following(live, client, scan_id, last_id=""):
    """A stream of the scan's events, behind one that came before."""
    headers = dict(client.headers) | ({"Last-Event-ID": last_id} if last_id else {})
    with (
        httpx.Client(base_url=live, headers=headers, timeout=20) as caller,
        caller.stream("GET", f"/v1/scans/{scan_id}/events") as answer,
    ):
        yield answer


def told(lines):
    """(name, data) of each event, as they come."""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_a_stream_tells_what_moves_and_ends_with_the_scan(live, client, scanned, database):
    scan_id = scanned()["id"]
    with following(live, client, scan_id) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        said = told(answer.iter_lines())
        assert next(said)[1]["state"] == "expanding"
        listed(database, scan_id, "a.jpg", "b.jpg")
        assert next(said)[1]["counts"]["by_status"]["queued"] == 2
        judged(database, scan_id)
        *_, before, last = said
    assert (before[0], last[0]) == ("progress", "end")
    assert last[1] == client.get(f"/v1/scans/{scan_id}").json() | {"as_of": last[1]["as_of"]}
    assert last[1]["counts"]["by_status"]["done"] == 2


def ids(lines):
    """The ids of events, as they come."""
    return (line.removeprefix("id: ") for line in lines if line.startswith("id: "))


def test_who_comes_back_is_told_what_is_new_and_after_the_end_nothing(
    live, client, scanned, database
):
    scan_id = scanned()["id"]
    with following(live, client, scan_id) as answer:
        first = next(ids(answer.iter_lines()))
    listed(database, scan_id, "a.jpg")
    with following(live, client, scan_id, first) as answer:
        assert next(told(answer.iter_lines()))[1]["state"] == "running"
    judged(database, scan_id)
    with following(live, client, scan_id, first) as answer:
        *_, end = ids(answer.iter_lines())
    with following(live, client, scan_id, end) as answer:
        assert (answer.status_code, answer.read()) == (204, b"")


def test_who_comes_back_is_not_told_the_same_again(live, client, scanned, monkeypatch):
    scan_id = scanned()["id"]
    with following(live, client, scan_id) as answer:
        first = next(ids(answer.iter_lines()))
    monkeypatch.setattr(events, "LONGEST_S", 0.2)
    with following(live, client, scan_id, first) as answer:
        assert list(told(answer.iter_lines())) == []


def test_nothing_new_is_a_comment_from_time_to_time(live, client, scanned, monkeypatch):
    monkeypatch.setattr(events, "SAY_SOMETHING_S", 0.05)
    with following(live, client, scanned()["id"]) as answer:
        lines = answer.iter_lines()
        wait_until(lambda: next(lines).startswith(": "))


def test_a_stream_outlives_a_pause_of_the_database(live, client, scanned, database, monkeypatch):
    scan_id, look = scanned()["id"], events.scanning.get
    away = [True] * 5

    def sometimes_away(*given):
        if away:
            away.pop()
            raise DatabaseUnavailable("PostgreSQL is being restarted.")
        return look(*given)

    with following(live, client, scan_id) as answer:
        said = told(answer.iter_lines())
        next(said)
        monkeypatch.setattr(events.scanning, "get", sometimes_away)
        listed(database, scan_id, "a.jpg")
        assert next(said)[1]["state"] == "running"
    assert away == []


def test_a_stream_ends_by_itself_so_that_its_key_is_looked_at_anew(
    live, client, scanned, monkeypatch
):
    monkeypatch.setattr(events, "LONGEST_S", 0.2)
    with following(live, client, scanned()["id"]) as answer:
        assert [name for name, _ in told(answer.iter_lines())] == ["progress"]


def test_so_many_may_listen_and_leaving_makes_room(live, client, scanned, api, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STREAMS", 1)
    scan_id = scanned()["id"]
    with following(live, client, scan_id) as first:
        said = told(first.iter_lines())
        next(said)
        refused = client.get(f"/v1/scans/{scan_id}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    wait_until(lambda: not api.state.services.streams.is_full())
