"""What all tables share: names of constraints, times, checked words, and their comments."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Identity,
    MetaData,
    Text,
    TypeDecorator,
    func,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Root of all tables; constraints get names here, so that migrations can say them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Word(TypeDecorator[Any]):
    """A member of an enumeration, stored as its text; `one_of` checks it in the database."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[enum.StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: str | None, _: Dialect) -> str | None:
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: str | None, _: Dialect) -> enum.StrEnum | None:
        return None if value is None else self.words(value)


def one_of(column: str, words: type[enum.StrEnum]) -> CheckConstraint:
    """The check that a column holds a word of the vocabulary."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_word")


def probability(column: str) -> CheckConstraint:
    """The check that a column lies in 0..1; refuses NaN as well."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 1", name=f"{column}_range")


def sha256(column: str) -> CheckConstraint:
    """The check that a column holds the 32 bytes of a SHA-256."""
    return CheckConstraint(f"octet_length({column}) = 32", name=f"{column}_length")


def number(comment: str) -> Mapped[int]:
    """A primary key that the database counts up."""
    return mapped_column(BigInteger, Identity(always=True), primary_key=True, comment=comment)


def moment(comment: str, *, index: bool = False) -> Mapped[datetime | None]:
    """A point in time that may not have come."""
    return mapped_column(DateTime(timezone=True), comment=comment, index=index)


def created(comment: str = "When the row was made.") -> Mapped[datetime]:
    """The time of the transaction that made the row."""
    return mapped_column(
        DateTime(timezone=True), server_default=func.now(), nullable=False, comment=comment
    )
