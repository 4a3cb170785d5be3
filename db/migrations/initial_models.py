"""Revision 0001: model versions, snapshots and training runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from db.migrations.columns import NOW, TIME, key, optional, required


def create() -> None:
    """Make the tables."""
    _model_version()
    _snapshot()
    _training_run()
    op.create_foreign_key(
        op.f("fk_model_version_training_run_id"),
        "model_version",
        "training_run",
        ["training_run_id"],
        ["id"],
        ondelete="SET NULL",
    )


def drop() -> None:
    """Drop the tables, in the other order."""
    op.drop_constraint("fk_model_version_training_run_id", "model_version")
    for table in (
        "training_run",
        "snapshot",
        "model_version",
    ):
        op.drop_table(table)


def _model_version() -> None:
    op.create_table("model_version", *_model_version_columns(), *_model_version_constraints())
    _model_version_indexes()


def _model_version_columns() -> list[sa.Column[Any]]:
    return [
        key("Identifier."),
        required("name", sa.Text(), "Name of the line of models."),
        required("number", sa.Integer(), "Number within the name, from 1."),
        required(
            "sha256", sa.LargeBinary(), "SHA-256 of model.safetensors, checked at every load."
        ),
        required("uri", sa.Text(), "Folder or prefix that holds model.safetensors and card.json."),
        required("card", JSONB(), "The model's card, in full."),
        required("state", sa.Text(), "Where it stands.", default="challenger"),
        required(
            "shadow_share",
            sa.Double(),
            "Share of live items that a challenger judges beside the champion, 0..1.",
            default=sa.text("0"),
        ),
        optional(
            "training_run_id",
            sa.BigInteger(),
            "The run that made it; NULL if it was made elsewhere.",
        ),
        required("created_at", TIME, "When it was registered.", default=NOW),
        optional("promoted_at", TIME, "When it last became the champion."),
        optional("retired_at", TIME, "When it went out of use."),
    ]


def _model_version_constraints() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint(
            "state IN ('challenger', 'champion', 'retired')",
            name=op.f("ck_model_version_state_word"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_model_version_number")),
        sa.CheckConstraint(
            "octet_length(sha256) = 32", name=op.f("ck_model_version_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["training_run.id"],
            name=op.f("fk_model_version_training_run_id"),
            ondelete="SET NULL",
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("name", "number", name=op.f("uq_model_version_name_number")),
    ]


def _model_version_indexes() -> None:
    op.create_index(op.f("ix_model_version_created_at_id"), "model_version", ["created_at", "id"])
    op.create_index(op.f("ix_model_version_training_run_id"), "model_version", ["training_run_id"])
    op.create_index(
        "uq_model_version_champion",
        "model_version",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'champion'"),
    )


def _snapshot() -> None:
    op.create_table(
        "snapshot",
        key("Identifier."),
        required("name", sa.Text(), "Name a person can say."),
        optional(
            "sha256", sa.LargeBinary(), "SHA-256 of its canonical list; NULL until it is frozen."
        ),
        required("recipe", JSONB(), "How it was put together, enough to make it again."),
        required(
            "counts", JSONB(), "Examples by split, label and source.", default=sa.text("'{}'")
        ),
        optional("parent_id", sa.BigInteger(), "The snapshot it replays, if any."),
        required("created_at", TIME, "When the row was made.", default=NOW),
        optional("frozen_at", TIME, "When it was closed; nothing is added afterwards."),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_snapshot_sha256_length")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["snapshot.id"], name=op.f("fk_snapshot_parent_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("name", name=op.f("uq_snapshot_name")),
    )
    op.create_index(op.f("ix_snapshot_created_at_id"), "snapshot", ["created_at", "id"])
    op.create_index(op.f("ix_snapshot_parent_id"), "snapshot", ["parent_id"])


def _training_run() -> None:
    op.create_table(
        "training_run",
        *_training_run_request(),
        *_training_run_progress(),
        *_training_run_constraints(),
    )
    _training_run_indexes()


def _training_run_request() -> list[sa.Column[Any]]:
    return [
        key("Identifier."),
        required("recipe", sa.Text(), "Name of the recipe."),
        required(
            "parameters", JSONB(), "What was asked for beyond the recipe.", default=sa.text("'{}'")
        ),
        optional("snapshot_id", sa.BigInteger(), "What it trains on, once frozen."),
        optional(
            "base_model_version_id",
            sa.BigInteger(),
            "The version it starts from; NULL from scratch.",
        ),
    ]


def _training_run_progress() -> list[sa.Column[Any]]:
    return [
        required("state", sa.Text(), "Where it stands.", default="queued"),
        optional(
            "period",
            sa.Text(),
            "The scheduled time it stands for: at most one run each. NULL if asked for.",
        ),
        required("requested_by", sa.Text(), "Schedule, command line or key."),
        required("progress", JSONB(), "Step, loss and figures so far.", default=sa.text("'{}'")),
        optional(
            "report", JSONB(), "The evaluation beside the base version, and the gate's answer."
        ),
        optional(
            "reason", sa.Text(), "Why it was stopped or failed, or was not promoted, as a sentence."
        ),
        optional("leased_by", sa.Text(), "The trainer that runs it."),
        optional("lease_until", TIME, "Until when that trainer holds it."),
        required("created_at", TIME, "When it was asked for.", default=NOW),
        optional("started_at", TIME, "When a trainer took it."),
        optional("finished_at", TIME, "When it ended."),
    ]


def _training_run_constraints() -> list[sa.Constraint]:
    return [
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'stopped', 'failed')",
            name=op.f("ck_training_run_state_word"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('stopped', 'failed') OR reason IS NOT NULL",
            name=op.f("ck_training_run_end_has_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["base_model_version_id"],
            ["model_version.id"],
            name=op.f("fk_training_run_base_model_version_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["snapshot.id"],
            name=op.f("fk_training_run_snapshot_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_run")),
        sa.UniqueConstraint("period", name=op.f("uq_training_run_period")),
    ]


def _training_run_indexes() -> None:
    op.create_index(
        op.f("ix_training_run_base_model_version_id"), "training_run", ["base_model_version_id"]
    )
    op.create_index(op.f("ix_training_run_created_at_id"), "training_run", ["created_at", "id"])
    op.create_index(op.f("ix_training_run_snapshot_id"), "training_run", ["snapshot_id"])
