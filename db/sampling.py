"""The audit sample: which judged items people look at, drawn with a known probability.

The draw belongs to the transaction that records a result, so that an item has both or neither. It
is made by hashing the item's identity with that of its scan, which nobody can guess beforehand: the
same item gets the same answer however often its result is written, nobody can try again until the
answer is better, and an auditor can check who was drawn.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from core.errors import UsageError
from core.vocabulary import Verdict
from db.estimates import Stratum
from db.leases import Claim
from db.review_queue import RANKS, SPREAD
from db.tables import Review

_BITS = 53


def draw(session: Session, claim: Claim) -> bool:
    """Draw or pass by an item whose verdict this transaction has just written; whether drawn."""
    return claim.item_id in draw_all(session, [claim])


def draw_all(session: Session, claims: Sequence[Claim]) -> set[int]:
    """Draw or pass by items whose verdicts this transaction has just written; those drawn.

    With the probabilities of their scans (`db.keeping.Draw`). Writes `item.sample_probability` and
    `item.sampled`, and for a drawn item the request that a person looks at it. Changes nothing
    of an item where the claim's attempt is over or there is no verdict.
    """
    told = session.execute(_DRAW, _draw_parameters(claims)).all()
    # Asked already; or of other bytes under this name, which have been replaced since.
    unasked = {row.item_id for row in told if not row.asked}
    if unasked:
        session.execute(
            delete(Review).where(Review.item_id.in_(unasked), Review.verdict_id.is_(None))
        )
        again = [claim for claim in claims if claim.item_id in unasked]
        session.execute(_DRAW, _draw_parameters(again))
    return {row.item_id for row in told}


def probability_sql(verdict: str) -> str:
    """SQL of `db.keeping.Draw.of` for the scan of an item, `verdict` being SQL, too."""
    return f"""CASE {verdict}
        WHEN 'real' THEN scan.audit_probability
        WHEN 'fake' THEN coalesce(scan.fake_probability, scan.audit_probability)
        WHEN 'uncertain' THEN scan.uncertain_probability
        ELSE 0
    END"""


def chance(scan_id: uuid.UUID, item_id: int, purpose: str = "draw") -> float:
    """A number of 0..1, 1 excluded, that is even over items and the same for one each time."""
    identity = f"{purpose}:{scan_id}:{item_id}".encode()
    bits = int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") >> (64 - _BITS)
    return bits / (1 << _BITS)


_RANKS = {"audit": RANKS["audit"], "unsure": RANKS["uncertain"]}


def _draw_parameters(claims: Sequence[Claim]) -> dict[str, Any]:
    chances = [(claim.scan_id, claim.item_id) for claim in claims]
    return _RANKS | {
        "item_id": [claim.item_id for claim in claims],
        "attempt": [claim.attempt for claim in claims],
        "chance": [chance(*each) for each in chances],
        "turn": [int(chance(*each, "turn") * SPREAD) for each in chances],
    }


_DRAW = text(
    f"""
    WITH judged AS MATERIALIZED (
        SELECT item.id AS item_id, item.verdict, verdict.id AS verdict_id, one.chance, one.turn,
            {probability_sql("item.verdict")} AS probability
        FROM unnest(CAST(:item_id AS bigint[]), CAST(:attempt AS int[]),
            CAST(:chance AS float8[]), CAST(:turn AS int[]))
            AS one (item_id, attempt, chance, turn)
        JOIN item ON item.id = one.item_id AND item.attempt = one.attempt
            AND item.status = 'done'
        JOIN scan ON scan.id = item.scan_id
        JOIN verdict ON verdict.item_id = item.id
            AND verdict.model_version_id = scan.model_version_id
    ), noted AS (
        UPDATE item SET sample_probability = judged.probability,
            sampled = judged.chance < judged.probability
        FROM judged WHERE item.id = judged.item_id AND judged.probability > 0
            AND (item.sample_probability, item.sampled) IS DISTINCT FROM
                (judged.probability, judged.chance < judged.probability)
    ), asked AS (
        INSERT INTO review (item_id, verdict_id, source, rank, probability)
        SELECT item_id, verdict_id,
            CASE verdict WHEN 'uncertain' THEN 'uncertain' ELSE 'audit' END,
            CASE verdict WHEN 'uncertain' THEN CAST(:unsure AS int) ELSE CAST(:audit AS int) END
                + turn,
            probability
        FROM judged WHERE chance < probability
        ON CONFLICT (item_id, round) DO NOTHING
        RETURNING item_id
    )
    SELECT judged.item_id, asked.item_id IS NOT NULL AS asked
    FROM judged LEFT JOIN asked USING (item_id)
    WHERE judged.chance < judged.probability
    """  # noqa: S608  (words of ours, no input)
)


# --- what stands behind an estimate -------------------------------------------------------------


def of_scan(session: Session, scan_id: uuid.UUID) -> list[Stratum]:
    """The strata of one scan: every item with a judged face is in one of them."""
    items = "item.scan_id = :scan_id"
    which = f"{items} AND verdict.model_version_id = scan.model_version_id"
    return _strata(session, {"scan_id": scan_id}, items=items, which=which)


def of_model(session: Session, model_version_id: int) -> list[Stratum]:
    """The strata of what a model version has judged, in scans or beside another as its shadow.

    Only scans with an audit: of others nothing can be known, and how many there are says nothing
    about the model. Kept crops that were scored again are left out:
    they were kept by what an earlier model called them and stand for nothing else.
    """
    return _strata(session, {"model_version_id": model_version_id}, items="true", which=_OF_MODEL)


def find_scan(session: Session, reference: str) -> uuid.UUID:
    """The scan of an id or of its first characters, as lists show them. Raises UsageError."""
    found = session.scalars(
        text("SELECT id FROM scan WHERE starts_with(CAST(id AS text), :start) LIMIT 2"),
        {"start": reference.strip().lower()},
    ).all()
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"More than one scan begins with {reference!r}; say more of its id.")
    raise UsageError(f"There is no scan {reference!r}; `deepsweep scans` lists them.")


def _strata(
    session: Session, parameters: dict[str, Any], *, items: str, which: str
) -> list[Stratum]:
    """Counts of the items and verdicts that SQL of ours names."""
    statement = text(_STRATA.replace("/* items */", items).replace("/* which */", which))
    rows = session.execute(statement, parameters)
    return [
        Stratum(
            **dict(row._mapping)
            | {"called": Verdict(row.called), "drawn_as": Verdict(row.drawn_as)}
        )
        for row in rows
    ]


_OF_MODEL = """verdict.model_version_id = :model_version_id AND verdict.role IN ('scan', 'shadow')
        AND scan.audit_probability > 0"""

#: The last word on an item is that of its highest round; an adjudication that is asked for and not
#: given leaves it open. One fake person makes an item fake; one who cannot be told leaves it open
#: where no other is fake. Reviews whose verdict is gone judged bytes that are gone, too.
_STRATA = """
    WITH last AS (
        SELECT DISTINCT ON (review.item_id) review.item_id, review.id, review.state
        FROM review
        JOIN item ON item.id = review.item_id AND item.sampled
        WHERE review.verdict_id IS NOT NULL AND (review.state = 'judged' OR review.round = 3)
            AND /* items */
        ORDER BY review.item_id, review.round DESC
    ), truth AS (
        SELECT last.item_id, bool_or(label.label = 'fake') AS fake,
            bool_or(label.label = 'unsure') AND NOT bool_or(label.label = 'fake') AS unsure
        FROM last JOIN review_label AS label ON label.review_id = last.id
        WHERE last.state = 'judged'
        GROUP BY last.item_id
    )
    SELECT verdict.verdict AS called, item.verdict AS drawn_as,
        item.sample_probability AS probability, count(*) AS population,
        count(*) FILTER (WHERE item.sampled) AS drawn,
        count(*) FILTER (WHERE item.sampled AND NOT truth.unsure) AS judged,
        count(*) FILTER (WHERE item.sampled AND truth.fake) AS fake,
        count(*) FILTER (WHERE item.sampled AND truth.unsure) AS unsure
    FROM verdict
    JOIN item ON item.id = verdict.item_id
    JOIN scan ON scan.id = item.scan_id
    LEFT JOIN truth ON truth.item_id = item.id
    WHERE item.status = 'done' AND item.verdict <> 'no_face' AND /* which */
    GROUP BY verdict.verdict, item.verdict, item.sample_probability
    ORDER BY verdict.verdict, item.verdict, item.sample_probability
"""
