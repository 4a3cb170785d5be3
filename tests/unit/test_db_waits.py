"""How long a failed item waits, and how requests are told apart."""

from __future__ import annotations

import pytest

from core.vocabulary import DEFAULT_PLAN
from db.canonical import canonical_sha256
from db.scans import ScanRequest
from db.verdicts import FIRST_WAIT_S, LONGEST_WAIT_S, wait_s


@pytest.mark.parametrize(
    ("failures", "longest"),
    [(1, FIRST_WAIT_S), (2, 2 * FIRST_WAIT_S), (4, 8 * FIRST_WAIT_S), (60, LONGEST_WAIT_S)],
)
def test_a_wait_doubles_up_to_its_limit_and_is_drawn_from_the_upper_half(
    failures: int, longest: float
) -> None:
    assert (wait_s(failures, draw=0.0), wait_s(failures, draw=1.0)) == (longest / 2, longest)
    assert longest / 2 <= wait_s(failures) <= longest


def test_equal_values_have_equal_digests_whatever_their_order() -> None:
    assert canonical_sha256({"a": 1, "b": [1, 2]}) == canonical_sha256({"b": [1, 2], "a": 1})
    assert canonical_sha256({"a": [1, 2]}) != canonical_sha256({"a": [2, 1]})


def test_sources_count_as_a_set_and_callers_wishes_do_not_count() -> None:
    one = ScanRequest(sources=("a", "b"), plan=DEFAULT_PLAN, model_version_id=1)
    same = ScanRequest(
        sources=("b", "a", "a"),
        plan=DEFAULT_PLAN,
        model_version_id=1,
        attributes={"ticket": 7},
        callback_url="https://example.org",
    )
    assert one.fingerprint() == same.fingerprint()
