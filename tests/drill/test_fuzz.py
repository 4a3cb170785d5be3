"""A short form of `make fuzz`: broken media are judged or refused, and the process goes on."""

from __future__ import annotations

from tests.drill import fuzz
from tests.drill.mutants import mutants, seeds


def test_broken_media_are_judged_or_refused_each_with_a_code() -> None:
    report = fuzz.scan(None, 160, workers=1)
    assert report.is_sound
    assert report.tried == 160
    # Some mutations are survived by some formats, others are not.
    assert report.judged > 10
    assert sum(report.refused.values()) > 10


def test_a_number_names_the_same_mutant_every_time() -> None:
    sound = seeds(None)
    some = list(mutants(sound, 40))
    assert some == list(mutants(sound, 40))
    assert some[25:] == list(mutants(sound, 40, first=25))
    assert sum(each.data not in sound.values() for each in some) > 30
