"""Conversations, their items, and responses."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("next_position", sa.Integer, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index(
        "ix_conversations_owner_updated_at_id",
        "conversations",
        ["owner", "updated_at", "id"],
    )
    op.create_index("ix_conversations_updated_at", "conversations", ["updated_at"])

    op.create_table(
        "items",
        sa.Column("conversation", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("conversation", "position", name="pk_items"),
        sa.UniqueConstraint("conversation", "id", name="uq_items_conversation_id"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="fk_items_conversation", ondelete="CASCADE"
        ),
    )

    op.create_table(
        "responses",
        sa.Column("id", sa.Text),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("conversation", sa.Text),
        sa.Column("previous", sa.Text),
        sa.Column("deadline", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
        sa.ForeignKeyConstraint(
            ["conversation"], ["conversations.id"], name="fk_responses_conversation", ondelete="CASCADE"
        ),
    )
    for column in ("conversation", "previous", "updated_at"):
        op.create_index(f"ix_responses_{column}", "responses", [column])
    unfinished = sa.text("deadline IS NOT NULL")
    op.create_index(
        "ix_responses_deadline", "responses", ["deadline"], sqlite_where=unfinished, postgresql_where=unfinished
    )
