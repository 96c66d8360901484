"""What took from a lot is found by the journals of its account; the index by lot is gone.

Each redemption wrote into it at a place of its own: a page of the file for every row.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

NAME, TABLE = "ix_lot_use_of_a_lot", "lot_use"


def upgrade() -> None:
    """Without it."""
    op.drop_index(NAME, TABLE)


def downgrade() -> None:
    """As it was."""
    op.create_index(NAME, TABLE, ["tenant", "programme", "lot_id"])
