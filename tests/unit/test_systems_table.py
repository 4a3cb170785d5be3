"""The tables of the published systems: docs/systems.json, docs/results.md, docs/documents.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import documents, marked, systems, systems_speed, systems_table
from benchmarks.systems_table import Asked, Measured, Speed, System
from detector import architectures
from detector.spec import Figure


def system(name: str, low: float, high: float) -> System:
    figure = Figure(value=(low + high) / 2, low=low, high=high)
    return System(
        name=name, parameters=562_901, input_px=256, start="random", steps=(3, 4), batch=8,
        trained_cpu_s=39.0, auc={"pictures": figure},
    )  # fmt: skip


@pytest.fixture
def measured() -> Measured:
    asked = Asked(
        snapshot="all", sha256="ab" * 32, crops={"train": 2000}, budget_s=40, batch=16, frames=2,
        media=0, sets={"pictures": "5 real, 6 fake"},
    )  # fmt: skip
    found = (system("che-cnn", 0.7, 0.9), system("torlapati-1", 0.4, 0.6),
             system("spagnola-tuned", 0.2, 0.4))  # fmt: skip
    return Measured(asked=asked, machine="a machine", systems=found)


def test_figures_are_read_as_they_were_kept(measured: Measured, tmp_path: Path):
    speed = Speed(rounds=5, machine="another", crops_s={1: {"che-cnn": 40.0}, 32: {}})
    whole = measured.model_copy(update={"speed": speed})
    systems_table.keep(whole, tmp_path / "systems.json")
    assert systems_table.read(tmp_path / "systems.json") == whole


def test_the_table_says_what_intervals_allow(measured: Measured):
    text = "\n".join(systems_table.markdown(measured))
    assert "| `che-cnn` | 562,901 | 256 px | random | 3 + 4 x 8 | 0.800 [0.70, 0.90] |" in text
    assert "above 0.5 `che-cnn`; below `spagnola-tuned`" in text
    assert "Of 3 pairs of systems 2 have intervals that do not touch: `che-cnn` before 2" in text


def test_speed_is_a_column_of_each_batch(measured: Measured):
    speed = Speed(rounds=5, machine="idle", crops_s={1: {"che-cnn": 40.0}, 32: {"che-cnn": 55.5}})
    text = "\n".join(systems_table.markdown(measured.model_copy(update={"speed": speed})))
    assert "| 0.800 [0.70, 0.90] | 40.0 | 55.5 |" in text
    assert "| 0.500 [0.40, 0.60] | - | - |" in text


def test_a_part_is_replaced_between_its_own_marks_alone(tmp_path: Path):
    path = tmp_path / "page.md"
    path.write_text("before\n")
    for lines in (["first"], ["second"]):
        marked.replace(path, "a", lines)
        marked.replace(path, "b", ["other"])
    assert path.read_text() == (
        "before\n\n<!-- a: begin -->\nsecond\n<!-- a: end -->\n\n"
        "<!-- b: begin -->\nother\n<!-- b: end -->\n"
    )


def test_speed_is_told_of_each_system_and_batch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(systems_speed, "PASSES", {1: 2, 2: 1})
    recipe = systems.recipe_of("spagnola-baseline")
    speed = systems_speed.measure({"spagnola-baseline": recipe}, rounds=1)
    assert set(speed.crops_s) == {1, 2}
    assert all(row["spagnola-baseline"] > 0 for row in speed.crops_s.values())


def test_an_ensemble_comes_after_its_members():
    order = systems._in_order()
    assert order.index("spagnola-ensemble") == len(order) - 1
    assert len(order) == 14


# --- beside what the documents printed ---------------------------------------------------------


def test_every_published_system_stands_on_the_page():
    page = "\n".join(documents._lines(None))
    published = {each.name for each in architectures.architectures() if each.document[:1] != "-"}
    named = {system.name for source in documents.SOURCES for system in source.systems}
    assert len(named) == 14
    assert named <= published
    assert all(f"`{name}`" in page for name in named)


def test_our_figures_stand_beside_the_documents(measured: Measured):
    page = "\n".join(documents._lines(measured))
    assert "log loss 0.51 | 0.800 [0.70, 0.90] |" in page
    assert "| `torlapati-2` | 99,142,978 | 99,142,978 | - | - |" in page
