"""A short form of `make drill`: one of each fault, and every item has exactly one result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drill import drill


@pytest.mark.timeout(900)
def test_whatever_dies_every_item_has_exactly_one_result(short_folder: Callable[[], Path]) -> None:
    outcome = drill.run(140, short_folder(), kill_every=60)
    assert outcome.account.is_sound, "\n".join(outcome.lines())
    assert outcome.account.failed == {
        "in/00014-crash.png": "decoder_crashed",
        "in/00035-kill.png": "crashed_worker",
        "in/00046-crash.png": "decoder_crashed",
        "in/00070-crash.png": "decoder_crashed",
    }
