"""The form of API keys: what can be one at all."""

from __future__ import annotations

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from db import keys

KEY = keys._token("abcdefghij", bytes(range(32)))


def test_a_key_has_its_form():
    assert keys.is_well_formed(KEY)
    assert KEY.startswith("dsk_abcdefghij_")
    assert len(KEY) == 63


@given(st.integers(0, len(KEY) - 1), st.sampled_from(string.ascii_letters + string.digits + "_-"))
def test_a_key_with_a_letter_changed_is_none(place, letter):
    changed = KEY[:place] + letter + KEY[place + 1 :]
    assert keys.is_well_formed(changed) == (changed == KEY)


@given(st.text())
def test_other_text_is_none(text):
    assert not keys.is_well_formed(text)


def test_made_up_keys_of_the_right_form_are_told_from_real_ones():
    draw = random.Random(4711)
    letters = string.ascii_letters + string.digits + "_-"
    made_up = (
        "dsk_abcdefghij_" + "".join(draw.choice(letters) for _ in range(48)) for _ in range(5000)
    )
    assert not any(map(keys.is_well_formed, made_up))
