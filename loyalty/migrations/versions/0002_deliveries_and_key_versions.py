"""Messages to members without a redemption; rows that say which version of the root key they are under."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

from loyalty.errors import LoyaltyError

revision = "0002"
down_revision = "0001"

KEYED = ("data_key", "voucher_code")
HIDDEN = ("delivery", "redemption", *KEYED)
"""Tables whose rows this revision has to see."""
FORWARD_ON_SQLITE = """
INSERT INTO delivery
    (tenant, delivery_id, member_id, redemption_id, medium, sealed_to_and_text, state, tries, next_at)
SELECT o.tenant, o.delivery_id, r.member_id, o.redemption_id, o.medium, o.sealed_to_and_text, o.state,
    o.tries, o.next_at
FROM old_delivery o JOIN redemption r ON r.tenant = o.tenant AND r.redemption_id = o.redemption_id
"""
FORWARD_ON_POSTGRES = """
UPDATE delivery d SET member_id = r.member_id FROM redemption r
WHERE r.tenant = d.tenant AND r.redemption_id = d.redemption_id
"""
BACK_ON_SQLITE = """
INSERT INTO delivery (tenant, delivery_id, redemption_id, medium, sealed_to_and_text, state, tries, next_at)
SELECT tenant, delivery_id, redemption_id, medium, sealed_to_and_text, state, tries, next_at
FROM old_delivery
"""
WITHOUT_REDEMPTION = "DELETE FROM delivery WHERE tenant <> '' AND redemption_id IS NULL"
LATER = """
SELECT tenant FROM data_key WHERE key_version > 1
UNION ALL SELECT tenant FROM voucher_code WHERE key_version > 1
"""


def short(length: int) -> sa.types.TypeEngine[str]:
    """Text of at most `length` characters that compares by code point on both engines."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """A delivery gets its member, and needs no redemption any more."""
    for table in KEYED:
        op.add_column(table, sa.Column("key_version", sa.Integer(), server_default="1", nullable=False))
    if _on_sqlite():
        _remake(sa.Column("member_id", short(64), nullable=False), redemption_needed=False)
        op.execute(FORWARD_ON_SQLITE)
        op.drop_table("old_delivery")
    else:
        op.add_column("delivery", sa.Column("member_id", short(64), nullable=True))
        with _seen():
            op.execute(FORWARD_ON_POSTGRES)
        op.alter_column("delivery", "member_id", nullable=False)
        op.alter_column("delivery", "redemption_id", nullable=True)
    op.create_index("ix_delivery_of_a_member", "delivery", ["tenant", "member_id"], unique=False)


def downgrade() -> None:
    """Back, while every row is of the first version; messages without a redemption are given up."""
    with _seen():
        if op.get_bind().execute(sa.text(LATER)).first() is not None:
            raise LoyaltyError("database_in_use", "Rows are under a newer root key. Keep this release.")
        op.execute(WITHOUT_REDEMPTION)
    op.drop_index("ix_delivery_of_a_member", "delivery")
    if _on_sqlite():
        _remake(redemption_needed=True)
        op.execute(BACK_ON_SQLITE)
        op.drop_table("old_delivery")
    else:
        op.alter_column("delivery", "redemption_id", nullable=False)
        op.drop_column("delivery", "member_id")
    for table in KEYED:
        op.drop_column(table, "key_version")


def _on_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


@contextmanager
def _seen() -> Iterator[None]:
    """On PostgreSQL the owner sees the rows meanwhile: the policies are not forced on him."""
    if not _on_sqlite():
        for table in HIDDEN:
            op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    if not _on_sqlite():
        for table in HIDDEN:
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def _remake(*added: sa.Column[str], redemption_needed: bool) -> None:
    """An empty table beside `old_delivery`: SQLite cannot take NOT NULL from a column."""
    op.drop_index("ix_delivery_due", "delivery")
    op.rename_table("delivery", "old_delivery")
    op.create_table(
        "delivery",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("delivery_id", short(64), nullable=False),
        *added,
        sa.Column("redemption_id", short(64), nullable=not redemption_needed),
        sa.Column("medium", short(8), nullable=False),
        sa.Column("sealed_to_and_text", sa.LargeBinary(), nullable=False),
        sa.Column("state", short(16), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", short(24), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "delivery_id", name="pk_delivery"),
        sa.UniqueConstraint(
            "tenant", "redemption_id", "medium", name="uq_delivery_tenant_redemption_id_medium"
        ),
    )
    op.create_index("ix_delivery_due", "delivery", ["state", "next_at"], unique=False)
