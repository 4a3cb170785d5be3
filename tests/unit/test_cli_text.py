from __future__ import annotations

from pathlib import Path

import pytest

from cli import text


def test_control_and_direction_characters_become_visible() -> None:
    assert text.printable("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec\\nd"


def test_ordinary_letters_of_all_scripts_stay() -> None:
    assert text.printable("Çağrı 写真 😀.jpg") == "Çağrı 写真 😀.jpg"


def test_a_long_name_is_cut_in_the_middle_and_keeps_its_ending() -> None:
    short = text.shortened("a" * 50 + "portrait.jpg", 20)
    assert len(short) == 20
    assert short.endswith("portrait.jpg")


def test_a_short_name_stays() -> None:
    assert text.shortened("clip.mp4", 20) == "clip.mp4"


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, "    "), (1.0, "████"), (0.5, "██  "), (0.03125, "▏   "), (2.0, "████")],
)
def test_a_bar_shows_its_share(share: float, drawn: str) -> None:
    assert text.bar(share, 4) == drawn


@pytest.mark.parametrize(
    ("number", "words"),
    [(None, "–"), (999, "999 bytes"), (12_345, "12.3 kB"), (5_000_000_000_000_000, "5,000 TB")],
)
def test_sizes_read_as_people_write_them(number: int | None, words: str) -> None:
    assert text.size(number) == words


@pytest.mark.parametrize(
    ("duration", "words"), [(None, "–"), (4.25, "4.2 s"), (65.0, "1:05"), (7200.0, "2:00:00")]
)
def test_durations_read_as_people_write_them(duration: float | None, words: str) -> None:
    assert text.seconds(duration) == words


def test_a_file_is_shown_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text.place(f"file://{tmp_path}/a%20b.jpg") == "a b.jpg"
    assert text.place("file:///elsewhere/c.jpg") == "/elsewhere/c.jpg"
    assert text.place("s3://bucket/a%20b.jpg") == "s3://bucket/a%20b.jpg"


def test_an_escape_hidden_in_a_percent_encoded_name_becomes_visible() -> None:
    assert text.place("file:///x/%1b%5b31m.jpg") == "/x/\\x1b[31m.jpg"


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (["/m/real/a.jpg", "/m/real-2/b.jpg"], "/m/"),
        (["/m/a.jpg"], "/m/"),
        (["s3://bucket/x/a.jpg", "s3://bucket/x/y/b.jpg"], "s3://bucket/x/"),
        (["a.jpg", "m/b.jpg"], ""),
        ([], ""),
    ],
)
def test_the_common_folder_is_made_of_whole_names(names: list[str], folder: str) -> None:
    assert text.common_folder(names) == folder


@pytest.mark.parametrize("name", ["[/]", "[red]a.jpg", ":heart:.jpg", "[link=x]a[/link]"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = text.table("file", title=name)
    table.add_row(name)
    console = text.console()
    console.print(table)
    console.print(name)
    assert capsys.readouterr().out.count(name) == 3
