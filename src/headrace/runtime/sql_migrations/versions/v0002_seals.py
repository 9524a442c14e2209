"""The secret by which ids of what providers keep are sealed for whoever made it."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    table = op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.bulk_insert(table, [{"name": "seal", "value": token_urlsafe(32)}])
