"""Revision 0001: model versions, snapshots and training runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


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
    op.create_table(
        "model_version",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the line of models."),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="Number within the name, from 1."
        ),
        sa.Column(
            "sha256",
            sa.LargeBinary(),
            nullable=False,
            comment="SHA-256 of model.safetensors, checked at every load.",
        ),
        sa.Column(
            "uri",
            sa.Text(),
            nullable=False,
            comment="Folder or prefix that holds model.safetensors and card.json.",
        ),
        sa.Column(
            "card",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The model's card, in full.",
        ),
        sa.Column(
            "state",
            sa.Text(),
            server_default="challenger",
            nullable=False,
            comment="Where it stands.",
        ),
        sa.Column(
            "shadow_share",
            sa.Double(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Share of live items that a challenger judges beside the champion, 0..1.",
        ),
        sa.Column(
            "training_run_id",
            sa.BigInteger(),
            nullable=True,
            comment="The run that made it; NULL if it was made elsewhere.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was registered.",
        ),
        sa.Column(
            "promoted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it last became the champion.",
        ),
        sa.Column(
            "retired_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it went out of use.",
        ),
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
    )
    op.create_index(
        op.f("ix_model_version_created_at_id"), "model_version", ["created_at", "id"], unique=False
    )
    op.create_index(
        op.f("ix_model_version_training_run_id"), "model_version", ["training_run_id"], unique=False
    )
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
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Name a person can say."),
        sa.Column(
            "sha256",
            sa.LargeBinary(),
            nullable=True,
            comment="SHA-256 of its canonical list; NULL until it is frozen.",
        ),
        sa.Column(
            "recipe",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="How it was put together, enough to make it again.",
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Examples by split, label and source.",
        ),
        sa.Column(
            "parent_id", sa.BigInteger(), nullable=True, comment="The snapshot it replays, if any."
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the row was made.",
        ),
        sa.Column(
            "frozen_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was closed; nothing is added afterwards.",
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_snapshot_sha256_length")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["snapshot.id"], name=op.f("fk_snapshot_parent_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("name", name=op.f("uq_snapshot_name")),
    )
    op.create_index(
        op.f("ix_snapshot_created_at_id"), "snapshot", ["created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_snapshot_parent_id"), "snapshot", ["parent_id"], unique=False)


def _training_run() -> None:
    op.create_table(
        "training_run",
        sa.Column(
            "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Identifier."
        ),
        sa.Column("recipe", sa.Text(), nullable=False, comment="Name of the recipe."),
        sa.Column(
            "parameters",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="What was asked for beyond the recipe.",
        ),
        sa.Column(
            "snapshot_id", sa.BigInteger(), nullable=True, comment="What it trains on, once frozen."
        ),
        sa.Column(
            "base_model_version_id",
            sa.BigInteger(),
            nullable=True,
            comment="The version it starts from; NULL from scratch.",
        ),
        sa.Column(
            "state", sa.Text(), server_default="queued", nullable=False, comment="Where it stands."
        ),
        sa.Column(
            "period",
            sa.Text(),
            nullable=True,
            comment="The scheduled time it stands for: at most one run each. NULL if asked for.",
        ),
        sa.Column(
            "requested_by", sa.Text(), nullable=False, comment="Schedule, command line or key."
        ),
        sa.Column(
            "progress",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="Step, loss and figures so far.",
        ),
        sa.Column(
            "report",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The evaluation beside the base version, and the gate's answer.",
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="Why it was stopped or failed, or was not promoted, as a sentence.",
        ),
        sa.Column("leased_by", sa.Text(), nullable=True, comment="The trainer that runs it."),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when that trainer holds it.",
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was asked for.",
        ),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a trainer took it.",
        ),
        sa.Column(
            "finished_at", sa.DateTime(timezone=True), nullable=True, comment="When it ended."
        ),
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
    )
    op.create_index(
        op.f("ix_training_run_base_model_version_id"),
        "training_run",
        ["base_model_version_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_training_run_created_at_id"), "training_run", ["created_at", "id"], unique=False
    )
    op.create_index(
        op.f("ix_training_run_snapshot_id"), "training_run", ["snapshot_id"], unique=False
    )
