"""The first tables: ledger, members, redemption, outbox; triggers, and roles and policies on PostgreSQL."""

import sqlalchemy as sa
from alembic import op

from loyalty import guards, roles
from loyalty.errors import LoyaltyError

revision = "0001"
down_revision = None

BOOKED = ("journal", "entry", "lot_use")
STANDING = ("account", "lot", "hold", "hold_lot")
OTHERS = (
    "delivery",
    "erasure",
    "member",
    "card",
    "data_key",
    "member_account",
    "member_change",
    "payout",
    "redemption",
    "voucher_code",
)
TABLES = (
    "account",
    "delivery",
    "erasure",
    "journal",
    "member",
    "outbox",
    "card",
    "data_key",
    "entry",
    "hold",
    "lot",
    "member_account",
    "member_change",
    "hold_lot",
    "lot_use",
    "payout",
    "redemption",
    "voucher_code",
)
"""In the order in which they can be made."""


def short(length: int) -> sa.types.TypeEngine[str]:
    """Text of at most `length` characters that compares by code point on both engines."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """From nothing."""
    make_tables()
    dialect = op.get_context().dialect.name
    for statement in guards.triggers(dialect, BOOKED):
        op.execute(statement)
    if dialect == "postgresql":
        for statement in (
            *roles.policies((*BOOKED, *STANDING, *OTHERS)),
            *roles.grants(BOOKED, STANDING, OTHERS),
        ):
            op.execute(statement)


def downgrade() -> None:
    """Back to nothing, as long as nothing was booked: a ledger is never thrown away by a command."""
    postgresql = op.get_context().dialect.name == "postgresql"
    if postgresql:
        op.execute("SET LOCAL ROLE loyalty_writer")  # the owner sees no row
    booked = sa.text("SELECT 1 FROM journal UNION ALL SELECT 1 FROM outbox").execution_options(
        all_tenants=True
    )
    if op.get_bind().execute(booked).first() is not None:
        raise LoyaltyError(
            "database_in_use", "Something is booked. Keep a copy and remove the database by hand."
        )
    if postgresql:
        op.execute("RESET ROLE")
    for table in reversed(TABLES):
        op.drop_table(table)
    if postgresql:
        op.execute("DROP FUNCTION refuse_change()")


def make_tables() -> None:
    """Tables, constraints and indexes."""
    op.create_table(
        "account",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("id", short(64), nullable=False),
        sa.Column("kind", short(80), nullable=False),
        sa.Column("state", short(8), server_default="open", nullable=False),
        sa.Column("posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.Column("member_account", short(64), nullable=True),
        sa.CheckConstraint(
            "(kind = 'clawback') = (member_account IS NOT NULL)", name="ck_account_clawback_has_a_member"
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name="ck_account_state_is_known"),
        sa.CheckConstraint(
            "floor IS NULL OR posted - held >= floor", name="ck_account_available_reaches_the_floor"
        ),
        sa.CheckConstraint("held >= 0", name="ck_account_held_is_not_negative"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "member_account"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_account_account_tenant_programme_member_account",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "id", name="pk_account"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "one_clawback_of_a_member", "account", ["tenant", "programme", "member_account"], unique=True
    )
    op.create_index(
        "one_system_account_of_a_kind",
        "account",
        ["tenant", "programme", "kind"],
        unique=True,
        sqlite_where=sa.text("kind NOT IN ('member', 'clawback')"),
        postgresql_where=sa.text("kind NOT IN ('member', 'clawback')"),
    )
    op.create_table(
        "delivery",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("delivery_id", short(64), nullable=False),
        sa.Column("redemption_id", short(64), nullable=False),
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
    op.create_table(
        "erasure",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("erased_by", short(80), nullable=False),
        sa.Column("at", short(24), nullable=False),
        sa.Column("pin", short(9), server_default="left", nullable=False),
        sa.CheckConstraint("pin IN ('left', 'forgotten')", name="ck_erasure_pin_is_known"),
        sa.PrimaryKeyConstraint("tenant", "member_id", name="pk_erasure"),
    )
    op.create_table(
        "journal",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("id", short(64), nullable=False),
        sa.Column("idem", short(100), nullable=False),
        sa.Column("request_hash", short(64), nullable=False),
        sa.Column("kind", short(16), nullable=False),
        sa.Column("reason", short(48), server_default="", nullable=False),
        sa.Column("actor", short(80), nullable=False),
        sa.Column("call_id", short(80), server_default="", nullable=False),
        sa.Column("at", short(24), nullable=False),
        sa.Column("effective_on", sa.Date(), nullable=False),
        sa.Column("reverses", short(64), nullable=True),
        sa.Column("reversed_before", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("receipt", short(100), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.CheckConstraint("points > 0", name="ck_journal_points_are_positive"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "reverses"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_journal_journal_tenant_programme_reverses",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "id", name="pk_journal"),
        sa.UniqueConstraint("tenant", "idem", name="uq_journal_tenant_idem"),
        sa.UniqueConstraint("tenant", "programme", "receipt", name="uq_journal_tenant_programme_receipt"),
        sa.UniqueConstraint(
            "tenant",
            "programme",
            "reverses",
            "reversed_before",
            name="uq_journal_tenant_programme_reverses_reversed_before",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_journal_by_moment", "journal", ["tenant", "programme", "at"], unique=False)
    op.create_table(
        "member",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("number_index", short(64), nullable=True),
        sa.Column("birth_index", short(64), nullable=True),
        sa.Column("house_index", short(64), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("language", short(16), nullable=False),
        sa.Column("status", short(8), server_default="active", nullable=False),
        sa.Column("created_at", short(24), nullable=False),
        sa.Column("updated_at", short(24), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "status <> 'closed' OR (number_index IS NULL AND birth_index IS NULL AND house_index IS NULL)",
            name="ck_member_closed_is_not_found",
        ),
        sa.CheckConstraint("status IN ('active', 'locked', 'closed')", name="ck_member_status_is_known"),
        sa.PrimaryKeyConstraint("tenant", "programme", "member_id", name="pk_member"),
        sa.UniqueConstraint("tenant", "member_id", name="uq_member_tenant_member_id"),
        sa.UniqueConstraint("tenant", "number_index", name="uq_member_tenant_number_index"),
    )
    op.create_index("ix_member_by_birth", "member", ["tenant", "birth_index"], unique=False)
    op.create_index("ix_member_by_house", "member", ["tenant", "house_index"], unique=False)
    op.create_table(
        "outbox",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        sa.UniqueConstraint("key", name="uq_outbox_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "card",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("card_id", short(64), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("number_index", short(64), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("last4", short(4), nullable=False),
        sa.Column("state", short(8), server_default="active", nullable=False),
        sa.Column("changed_at", short(24), nullable=False),
        sa.Column("reason", short(48), server_default="", nullable=False),
        sa.CheckConstraint("state IN ('active', 'locked', 'replaced')", name="ck_card_state_is_known"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "member_id"],
            ["member.tenant", "member.programme", "member.member_id"],
            name="fk_card_member_tenant_programme_member_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "card_id", name="pk_card"),
        sa.UniqueConstraint("tenant", "number_index", name="uq_card_tenant_number_index"),
    )
    op.create_index("ix_card_of_a_member", "card", ["tenant", "programme", "member_id"], unique=False)
    op.create_table(
        "data_key",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "member_id"],
            ["member.tenant", "member.member_id"],
            name="fk_data_key_member_tenant_member_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "member_id", name="pk_data_key"),
    )
    op.create_table(
        "entry",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("journal_id", short(64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name="ck_entry_amount_is_not_zero"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_entry_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "journal_id"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_entry_journal_tenant_programme_journal_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "journal_id", "seq", name="pk_entry"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_entry_of_an_account", "entry", ["tenant", "programme", "account_id", "journal_id"], unique=False
    )
    op.create_table(
        "hold",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("id", short(64), nullable=False),
        sa.Column("journal_id", short(64), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", short(8), nullable=False),
        sa.Column("until", short(24), nullable=False),
        sa.Column("ended_by", short(64), nullable=True),
        sa.CheckConstraint("(state = 'open') = (ended_by IS NULL)", name="ck_hold_open_until_ended"),
        sa.CheckConstraint("state IN ('open', 'posted', 'void')", name="ck_hold_state_is_known"),
        sa.CheckConstraint("amount > 0", name="ck_hold_amount_is_positive"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_hold_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "ended_by"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_hold_journal_tenant_programme_ended_by",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "journal_id"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_hold_journal_tenant_programme_journal_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "id", name="pk_hold"),
        sa.UniqueConstraint("tenant", "programme", "journal_id", name="uq_hold_tenant_programme_journal_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_hold_due",
        "hold",
        ["until"],
        unique=False,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_hold_of_an_account", "hold", ["tenant", "programme", "account_id"], unique=False)
    op.create_table(
        "lot",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("id", short(64), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.Column("journal_id", short(64), nullable=False),
        sa.Column("expires", sa.Date(), nullable=True),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("granted > 0", name="ck_lot_granted_is_positive"),
        sa.CheckConstraint("remaining BETWEEN 0 AND granted", name="ck_lot_remaining_within_granted"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_lot_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "journal_id"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_lot_journal_tenant_programme_journal_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "id", name="pk_lot"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_lot_by_expiry",
        "lot",
        ["tenant", "programme", "account_id", "expires", "id"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_index(
        "ix_lot_due",
        "lot",
        ["tenant", "programme", "expires"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_index("ix_lot_of_a_journal", "lot", ["tenant", "programme", "journal_id"], unique=False)
    op.create_table(
        "member_account",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_member_account_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "member_id"],
            ["member.tenant", "member.programme", "member.member_id"],
            name="fk_member_account_member_tenant_programme_member_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "member_id", name="pk_member_account"),
        sa.UniqueConstraint(
            "tenant", "programme", "account_id", name="uq_member_account_tenant_programme_account_id"
        ),
    )
    op.create_table(
        "member_change",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("change_id", short(64), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("changed_by", short(80), nullable=False),
        sa.Column("reason", short(48), nullable=False),
        sa.Column("at", short(24), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "member_id"],
            ["member.tenant", "member.programme", "member.member_id"],
            name="fk_member_change_member_tenant_programme_member_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "change_id", name="pk_member_change"),
    )
    op.create_index(
        "ix_member_change_of_a_member",
        "member_change",
        ["tenant", "programme", "member_id", "at"],
        unique=False,
    )
    op.create_table(
        "hold_lot",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("hold_id", short(64), nullable=False),
        sa.Column("lot_id", short(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name="ck_hold_lot_amount_is_positive"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "hold_id"],
            ["hold.tenant", "hold.programme", "hold.id"],
            name="fk_hold_lot_hold_tenant_programme_hold_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "lot_id"],
            ["lot.tenant", "lot.programme", "lot.id"],
            name="fk_hold_lot_lot_tenant_programme_lot_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "hold_id", "lot_id", name="pk_hold_lot"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lot_use",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("journal_id", short(64), nullable=False),
        sa.Column("lot_id", short(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount <> 0", name="ck_lot_use_amount_is_not_zero"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "journal_id"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_lot_use_journal_tenant_programme_journal_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "lot_id"],
            ["lot.tenant", "lot.programme", "lot.id"],
            name="fk_lot_use_lot_tenant_programme_lot_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "journal_id", "lot_id", name="pk_lot_use"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lot_use_of_a_lot", "lot_use", ["tenant", "programme", "lot_id"], unique=False)
    op.create_table(
        "payout",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("payout_id", short(64), nullable=False),
        sa.Column("idem", short(100), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", short(3), nullable=False),
        sa.Column("hold_id", short(64), nullable=False),
        sa.Column("asked_by", short(80), nullable=False),
        sa.Column("decided_by", short(80), server_default="", nullable=False),
        sa.Column("state", short(16), nullable=False),
        sa.Column("at", short(24), nullable=False),
        sa.Column("decided_at", short(24), nullable=True),
        sa.CheckConstraint("state IN ('asked', 'released', 'refused')", name="ck_payout_state_is_known"),
        sa.CheckConstraint("points > 0 AND amount_minor > 0", name="ck_payout_amounts_are_positive"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_payout_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "hold_id"],
            ["hold.tenant", "hold.programme", "hold.id"],
            name="fk_payout_hold_tenant_programme_hold_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "payout_id", name="pk_payout"),
        sa.UniqueConstraint("tenant", "idem", name="uq_payout_tenant_idem"),
        sa.UniqueConstraint("tenant", "programme", "hold_id", name="uq_payout_tenant_programme_hold_id"),
    )
    op.create_index("ix_payout_by_state", "payout", ["tenant", "programme", "state", "at"], unique=False)
    op.create_table(
        "redemption",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("redemption_id", short(64), nullable=False),
        sa.Column("idem", short(100), nullable=False),
        sa.Column("request_hash", short(64), nullable=False),
        sa.Column("member_id", short(64), nullable=False),
        sa.Column("account_id", short(64), nullable=False),
        sa.Column("reward_id", short(64), nullable=False),
        sa.Column("kind", short(16), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("state", short(16), nullable=False),
        sa.Column("hold_id", short(64), nullable=True),
        sa.Column("journal_id", short(64), nullable=True),
        sa.Column("code_id", short(64), nullable=True),
        sa.Column("receipt", short(32), nullable=True),
        sa.Column("channel", short(8), nullable=False),
        sa.Column("call_id", short(80), server_default="", nullable=False),
        sa.Column("at", short(24), nullable=False),
        sa.CheckConstraint(
            "channel IN ('phone', 'web', 'api', 'agent')", name="ck_redemption_channel_is_known"
        ),
        sa.CheckConstraint("kind IN ('donation', 'voucher')", name="ck_redemption_kind_is_known"),
        sa.CheckConstraint(
            "state IN ('reserved', 'done', 'refused', 'released')", name="ck_redemption_state_is_known"
        ),
        sa.CheckConstraint("points > 0", name="ck_redemption_points_are_positive"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "account_id"],
            ["account.tenant", "account.programme", "account.id"],
            name="fk_redemption_account_tenant_programme_account_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "hold_id"],
            ["hold.tenant", "hold.programme", "hold.id"],
            name="fk_redemption_hold_tenant_programme_hold_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "journal_id"],
            ["journal.tenant", "journal.programme", "journal.id"],
            name="fk_redemption_journal_tenant_programme_journal_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "redemption_id", name="pk_redemption"),
        sa.UniqueConstraint("tenant", "idem", name="uq_redemption_tenant_idem"),
        sa.UniqueConstraint("tenant", "programme", "hold_id", name="uq_redemption_tenant_programme_hold_id"),
        sa.UniqueConstraint(
            "tenant", "programme", "journal_id", name="uq_redemption_tenant_programme_journal_id"
        ),
        sa.UniqueConstraint("tenant", "programme", "receipt", name="uq_redemption_tenant_programme_receipt"),
    )
    op.create_index(
        "ix_redemption_of_a_member", "redemption", ["tenant", "programme", "member_id", "at"], unique=False
    )
    op.create_index(
        "ix_redemption_of_a_reward", "redemption", ["tenant", "programme", "reward_id", "at"], unique=False
    )
    op.create_index(
        "ix_redemption_reserved",
        "redemption",
        ["tenant", "at"],
        unique=False,
        sqlite_where=sa.text("state = 'reserved'"),
        postgresql_where=sa.text("state = 'reserved'"),
    )
    op.create_table(
        "voucher_code",
        sa.Column("tenant", short(40), nullable=False),
        sa.Column("programme", short(40), nullable=False),
        sa.Column("code_id", short(64), nullable=False),
        sa.Column("reward_id", short(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("code_index", short(64), nullable=False),
        sa.Column("state", short(8), server_default="free", nullable=False),
        sa.Column("redemption_id", short(64), nullable=True),
        sa.Column("added_at", short(24), nullable=False),
        sa.Column("issued_at", short(24), nullable=True),
        sa.CheckConstraint(
            "(state = 'issued') = (redemption_id IS NOT NULL)",
            name="ck_voucher_code_issued_to_one_redemption",
        ),
        sa.CheckConstraint("state IN ('free', 'issued')", name="ck_voucher_code_state_is_known"),
        sa.ForeignKeyConstraint(
            ["tenant", "programme", "redemption_id"],
            ["redemption.tenant", "redemption.programme", "redemption.redemption_id"],
            name="fk_voucher_code_redemption_tenant_programme_redemption_id",
        ),
        sa.PrimaryKeyConstraint("tenant", "programme", "code_id", name="pk_voucher_code"),
        sa.UniqueConstraint(
            "tenant", "programme", "code_index", name="uq_voucher_code_tenant_programme_code_index"
        ),
        sa.UniqueConstraint(
            "tenant", "programme", "redemption_id", name="uq_voucher_code_tenant_programme_redemption_id"
        ),
    )
    op.create_index(
        "ix_voucher_code_stock",
        "voucher_code",
        ["tenant", "programme", "reward_id", "state", "code_id"],
        unique=False,
    )
