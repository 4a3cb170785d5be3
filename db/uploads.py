"""What was made of uploads, forgotten with them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

#: Items, and scans, that one call deletes at most.
PAGE = 2_000


def forget(session: Session, base: str, before: datetime, *, limit: int = PAGE) -> int:
    """Delete what scans that began before a moment made of uploads under `base`, a page of it.

    Their items go with verdicts, frames and faces, and so does a scan of which nothing is left.
    Items of which crops are kept, or that a person was asked about, stay: those have rules of
    their own. Returns how many items and scans went; 0 when there are no more.
    """
    given = {"base": base, "before": before, "limit": limit}
    return sum(len(session.scalars(each, given).all()) for each in (_ITEMS, _SCANS))


#: Scans that are over; whether a source is an upload is told by how it begins.
_OLD = """
    SELECT scan.id, scan.sources FROM scan
    WHERE scan.created_at < :before AND scan.state IN ('finished', 'cancelled')
      AND EXISTS (SELECT FROM jsonb_array_elements_text(scan.sources) AS source
                  WHERE starts_with(source, :base))
"""
_ITEMS = text(
    f"""
    DELETE FROM item USING (
        SELECT item.id FROM ({_OLD}) AS old
        CROSS JOIN LATERAL jsonb_array_elements_text(old.sources) AS source
        JOIN item ON item.scan_id = old.id
                 AND item.uri_sha256 = sha256(convert_to(source, 'UTF8'))
        WHERE starts_with(source, :base)
          AND NOT EXISTS (SELECT FROM crop WHERE crop.item_id = item.id)
          AND NOT EXISTS (SELECT FROM review WHERE review.item_id = item.id)
        LIMIT :limit) AS gone
    WHERE item.id = gone.id RETURNING item.id
    """  # noqa: S608 - our own text
)
_SCANS = text(
    f"""
    DELETE FROM scan USING (
        SELECT old.id FROM ({_OLD}) AS old
        WHERE NOT EXISTS (SELECT FROM item WHERE item.scan_id = old.id)
          AND NOT EXISTS (SELECT FROM jsonb_array_elements_text(old.sources) AS source
                          WHERE NOT starts_with(source, :base))
        LIMIT :limit) AS gone
    WHERE scan.id = gone.id RETURNING scan.id
    """  # noqa: S608 - our own text
)
