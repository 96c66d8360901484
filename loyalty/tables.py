"""Every table of the loyalty database, for SQLite and for PostgreSQL.

Each key leads with the tenant, and with the programme where there is one: a row that would join two tenants
or two programmes breaks a foreign key, on both engines. Text compares by code point on both (COLLATE "C"),
so that an order taken in Python is the database's order. Points are signed 64-bit integers.

What is booked is never changed: `journal`, `entry` and `lot_use` refuse UPDATE and DELETE by trigger. What a
member is called stands in `member` alone, sealed; the ledger knows accounts with random ids, so that erasing
a member leaves the books whole.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
"""Names are fixed here, because a migration can only change a constraint that it can name."""

APPEND_ONLY = ("journal", "entry", "lot_use")
"""Rows that nobody may change or delete, whatever his rights (`loyalty/guards.py`)."""

IDEM_MAX = 100
"""Characters of an idempotency key."""


def _short(length: int) -> TypeEngine[str]:
    """Text of at most `length` characters that compares by code point on both engines."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _tenant() -> Column[str]:
    return Column("tenant", _short(40), nullable=False)


def _programme() -> Column[str]:
    return Column("programme", _short(40), nullable=False)


def _id(name: str = "id", *, nullable: bool = False) -> Column[str]:
    return Column(name, _short(64), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> Column[str]:
    """UTC, ISO 8601 with milliseconds and Z: sorts as it reads."""
    return Column(name, _short(24), nullable=nullable)


def _index(name: str) -> Column[str]:
    """A keyed hash, hexadecimal: found by, never read from; null once nobody may be found by it."""
    return Column(name, _short(64))


def _key_version() -> Column[int]:
    """The version of the root key that a row was written with (`loyalty/keys.py`)."""
    return Column("key_version", Integer, nullable=False, server_default="1")


def _word(name: str, length: int = 32, default: str | None = None) -> Column[str]:
    return Column(name, _short(length), nullable=False, server_default=default)


def _key(*columns: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*columns)


def _refers(column: str, table: str, to: str = "id") -> ForeignKeyConstraint:
    """`column` names a row of `table` of the same tenant and programme."""
    return ForeignKeyConstraint(
        ["tenant", "programme", column], [f"{table}.tenant", f"{table}.programme", f"{table}.{to}"]
    )


def _one_of(column: str, *words: str) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


# --- the ledger -------------------------------------------------------------------------------------------

ACCOUNT = Table(
    "account",
    METADATA,
    _tenant(),
    _programme(),
    _id(),
    # member | clawback | issued | redeemed_donation:<charity> | redeemed_voucher | payout | expired |
    # adjusted | suspense
    _word("kind", 80),
    _word("state", 8, default="open"),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("floor", BigInteger),  # null: a system account may stand anywhere
    _id("member_account", nullable=True),  # of a clawback account: the member's own
    _key("tenant", "programme", "id"),
    _refers("member_account", "account"),
    _one_of("state", "open", "closed"),
    CheckConstraint("held >= 0", name="held_is_not_negative"),
    CheckConstraint("floor IS NULL OR posted - held >= floor", name="available_reaches_the_floor"),
    CheckConstraint("(kind = 'clawback') = (member_account IS NOT NULL)", name="clawback_has_a_member"),
    Index(
        "one_system_account_of_a_kind",
        "tenant",
        "programme",
        "kind",
        unique=True,
        sqlite_where=text("kind NOT IN ('member', 'clawback')"),
        postgresql_where=text("kind NOT IN ('member', 'clawback')"),
    ),
    Index("one_clawback_of_a_member", "member_account", "tenant", "programme", unique=True),
    sqlite_with_rowid=False,
)

JOURNAL = Table(
    "journal",
    METADATA,
    _tenant(),
    _programme(),
    _id(),
    _word("idem", IDEM_MAX),
    _word("request_hash", 64),
    # earn | hold | post | void | redeem | reverse | adjust | expire | move
    _word("kind", 16),
    _word("reason", 48, default=""),
    _word("actor", 80),
    _word("call_id", 80, default=""),
    _moment("at"),
    Column("effective_on", Date, nullable=False),  # in the tenant's own time zone
    _id("reverses", nullable=True),
    # of a reversal: how much of that journal was reversed before it; no point comes back twice
    Column("reversed_before", BigInteger, nullable=False, server_default="0"),
    Column("receipt", _short(IDEM_MAX)),  # of an earn: the till's own number
    Column("points", BigInteger, nullable=False),  # what the command moved
    Column("result", Text, nullable=False),  # the answer, for whoever asks again under the same key
    _key("tenant", "programme", "id"),
    _refers("reverses", "journal"),
    Index("one_journal_of_a_key", "idem", "tenant", unique=True),
    Index(
        "one_reversal_of_a_point",
        "tenant",
        "programme",
        "reverses",
        "reversed_before",
        unique=True,
        sqlite_where=text("reverses IS NOT NULL"),
        postgresql_where=text("reverses IS NOT NULL"),
    ),
    Index(
        "one_earn_of_a_receipt",
        "tenant",
        "programme",
        "receipt",
        unique=True,
        sqlite_where=text("receipt IS NOT NULL"),
        postgresql_where=text("receipt IS NOT NULL"),
    ),
    CheckConstraint("points > 0", name="points_are_positive"),
    Index("ix_journal_by_moment", "at", "tenant", "programme"),
    sqlite_with_rowid=False,
)

ENTRY = Table(
    "entry",
    METADATA,
    _tenant(),
    _programme(),
    _id("journal_id"),
    Column("seq", Integer, nullable=False),
    _id("account_id"),
    Column("amount", BigInteger, nullable=False),
    _key("tenant", "programme", "journal_id", "seq"),
    _refers("journal_id", "journal"),
    _refers("account_id", "account"),
    CheckConstraint("amount <> 0", name="amount_is_not_zero"),
    Index("ix_entry_of_an_account", "tenant", "programme", "account_id", "journal_id"),
    sqlite_with_rowid=False,
)

LOT = Table(
    "lot",
    METADATA,
    _tenant(),
    _programme(),
    _id(),
    _id("account_id"),
    _id("journal_id"),
    Column("expires", Date),  # the first day on which it is worth nothing; null: never
    Column("granted", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    _key("tenant", "programme", "id"),
    _refers("account_id", "account"),
    _refers("journal_id", "journal"),
    CheckConstraint("granted > 0", name="granted_is_positive"),
    CheckConstraint("remaining BETWEEN 0 AND granted", name="remaining_within_granted"),
    Index("ix_lot_of_a_journal", "journal_id", "tenant", "programme"),
    Index(
        "ix_lot_by_expiry",  # what is spent stays in the table, but not in the way
        "tenant",
        "programme",
        "account_id",
        "expires",
        "id",
        sqlite_where=text("remaining > 0"),
        postgresql_where=text("remaining > 0"),
    ),
    Index(
        "ix_lot_due",
        "tenant",
        "programme",
        "expires",
        sqlite_where=text("remaining > 0"),
        postgresql_where=text("remaining > 0"),
    ),
    sqlite_with_rowid=False,
)

LOT_USE = Table(
    "lot_use",
    METADATA,
    _tenant(),
    _programme(),
    _id("journal_id"),
    _id("lot_id"),
    Column("amount", BigInteger, nullable=False),  # > 0 taken from the lot, < 0 given back to it
    _key("tenant", "programme", "journal_id", "lot_id"),
    _refers("journal_id", "journal"),
    _refers("lot_id", "lot"),
    CheckConstraint("amount <> 0", name="amount_is_not_zero"),
    sqlite_with_rowid=False,
)

HOLD = Table(
    "hold",
    METADATA,
    _tenant(),
    _programme(),
    _id(),
    _id("journal_id"),
    _id("account_id"),
    Column("amount", BigInteger, nullable=False),
    _word("state", 8),
    _moment("until"),
    _id("ended_by", nullable=True),  # the journal of its post or void
    _key("tenant", "programme", "id"),
    _refers("journal_id", "journal"),
    _refers("account_id", "account"),
    _refers("ended_by", "journal"),
    _one_of("state", "open", "posted", "void"),
    CheckConstraint("amount > 0", name="amount_is_positive"),
    CheckConstraint("(state = 'open') = (ended_by IS NULL)", name="open_until_ended"),
    UniqueConstraint("journal_id", "tenant", "programme"),
    Index(
        "ix_hold_due",
        "until",
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index("ix_hold_of_an_account", "account_id", "tenant", "programme"),
    sqlite_with_rowid=False,
)

HOLD_LOT = Table(
    "hold_lot",
    METADATA,
    _tenant(),
    _programme(),
    _id("hold_id"),
    _id("lot_id"),
    Column("amount", BigInteger, nullable=False),
    _key("tenant", "programme", "hold_id", "lot_id"),
    _refers("hold_id", "hold"),
    _refers("lot_id", "lot"),
    CheckConstraint("amount > 0", name="amount_is_positive"),
    sqlite_with_rowid=False,
)

# --- members ----------------------------------------------------------------------------------------------

MEMBER = Table(
    "member",
    METADATA,
    _tenant(),
    _programme(),
    _id("member_id"),
    _index("number_index"),
    _index("birth_index"),  # postcode and date of birth
    _index("house_index"),  # the same and the house number
    Column("sealed", LargeBinary, nullable=False),
    _word("language", 16),
    _word("status", 8, default="active"),
    _moment("created_at"),
    _moment("updated_at"),
    Column("version", Integer, nullable=False, server_default="1"),
    _key("tenant", "programme", "member_id"),
    _one_of("status", "active", "locked", "closed"),
    CheckConstraint(
        "status <> 'closed' OR (number_index IS NULL AND birth_index IS NULL AND house_index IS NULL)",
        name="closed_is_not_found",
    ),
    UniqueConstraint("tenant", "member_id"),
    UniqueConstraint("tenant", "number_index"),
    Index("ix_member_by_birth", "tenant", "birth_index"),
    Index("ix_member_by_house", "tenant", "house_index"),
)

DATA_KEY = Table(
    "data_key",
    METADATA,
    _tenant(),
    _id("member_id"),
    Column("wrapped", LargeBinary, nullable=False),
    _key_version(),  # of it, of the member's indexes and of those of his cards
    _key("tenant", "member_id"),
    ForeignKeyConstraint(["tenant", "member_id"], ["member.tenant", "member.member_id"]),
)

MEMBER_ACCOUNT = Table(
    "member_account",
    METADATA,
    _tenant(),
    _programme(),
    _id("member_id"),
    _id("account_id"),
    _key("tenant", "programme", "member_id"),
    _refers("member_id", "member", "member_id"),
    _refers("account_id", "account"),
    UniqueConstraint("tenant", "programme", "account_id"),
)

CARD = Table(
    "card",
    METADATA,
    _tenant(),
    _programme(),
    _id("card_id"),
    _id("member_id"),
    _index("number_index"),
    Column("sealed", LargeBinary, nullable=False),  # the whole number, for the plastic and the member
    _word("last4", 4),
    _word("state", 8, default="active"),
    _moment("changed_at"),
    _word("reason", 48, default=""),
    _key("tenant", "programme", "card_id"),
    _refers("member_id", "member", "member_id"),
    _one_of("state", "active", "locked", "replaced"),
    UniqueConstraint("tenant", "number_index"),
    Index("ix_card_of_a_member", "tenant", "programme", "member_id"),
)

MEMBER_CHANGE = Table(
    "member_change",
    METADATA,
    _tenant(),
    _programme(),
    _id("change_id"),
    _id("member_id"),
    Column("sealed", LargeBinary, nullable=False),  # before and after
    _word("changed_by", 80),
    _word("reason", 48),
    _moment("at"),
    _key("tenant", "programme", "change_id"),
    _refers("member_id", "member", "member_id"),
    Index("ix_member_change_of_a_member", "tenant", "programme", "member_id", "at"),
)

# That somebody was erased, and what is still to be done about it. The id leads to nobody any more.
ERASURE = Table(
    "erasure",
    METADATA,
    _tenant(),
    _id("member_id"),
    _word("erased_by", 80),
    _moment("at"),
    _word("pin", 9, default="left"),  # left | forgotten: the PIN lies in the vault
    _key("tenant", "member_id"),
    _one_of("pin", "left", "forgotten"),
)

# --- redemption: no foreign key to a member, who may be erased --------------------------------------------

REDEMPTION = Table(
    "redemption",
    METADATA,
    _tenant(),
    _programme(),
    _id("redemption_id"),
    _word("idem", IDEM_MAX),
    _word("request_hash", 64),
    _id("member_id"),
    _id("account_id"),
    _id("reward_id"),
    _word("kind", 16),
    Column("points", BigInteger, nullable=False),
    _word("state", 16),
    _id("hold_id", nullable=True),
    _id("journal_id", nullable=True),
    _id("code_id", nullable=True),
    Column("source", _short(40)),  # the shop that has the order; null: none has, or it was not kept yet
    Column("receipt", _short(32)),
    _word("channel", 8),
    _word("call_id", 80, default=""),
    _moment("at"),
    _key("tenant", "programme", "redemption_id"),
    _refers("account_id", "account"),
    _refers("hold_id", "hold"),
    _refers("journal_id", "journal"),
    _one_of("kind", "donation", "voucher"),
    _one_of("state", "reserved", "done", "refused", "released"),
    _one_of("channel", "phone", "web", "api", "agent"),
    CheckConstraint("points > 0", name="points_are_positive"),
    UniqueConstraint("tenant", "idem"),
    UniqueConstraint("tenant", "programme", "receipt"),
    UniqueConstraint("tenant", "programme", "hold_id"),
    UniqueConstraint("tenant", "programme", "journal_id"),
    Index("ix_redemption_of_a_member", "tenant", "programme", "member_id", "at"),
    Index("ix_redemption_of_a_reward", "tenant", "programme", "reward_id", "at"),
    Index(
        "ix_redemption_reserved",
        "tenant",
        "at",
        sqlite_where=text("state = 'reserved'"),
        postgresql_where=text("state = 'reserved'"),
    ),
)

VOUCHER_CODE = Table(
    "voucher_code",
    METADATA,
    _tenant(),
    _programme(),
    _id("code_id"),
    _id("reward_id"),
    Column("sealed", LargeBinary, nullable=False),
    _word("code_index", 64),
    _word("state", 8, default="free"),
    _id("redemption_id", nullable=True),
    _moment("added_at"),
    _moment("issued_at", nullable=True),
    _key_version(),  # of what is sealed and of the index
    _key("tenant", "programme", "code_id"),
    _refers("redemption_id", "redemption", "redemption_id"),
    _one_of("state", "free", "issued"),
    CheckConstraint("(state = 'issued') = (redemption_id IS NOT NULL)", name="issued_to_one_redemption"),
    UniqueConstraint("tenant", "programme", "code_index"),
    UniqueConstraint("tenant", "programme", "redemption_id"),
    Index("ix_voucher_code_stock", "tenant", "programme", "reward_id", "state", "code_id"),
)

PAYOUT = Table(
    "payout",
    METADATA,
    _tenant(),
    _programme(),
    _id("payout_id"),
    _word("idem", IDEM_MAX),
    _id("member_id"),
    _id("account_id"),
    Column("points", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    _word("currency", 3),
    _id("hold_id"),
    _word("asked_by", 80),
    _word("decided_by", 80, default=""),
    _word("state", 16),
    _moment("at"),
    _moment("decided_at", nullable=True),
    _key("tenant", "programme", "payout_id"),
    _refers("account_id", "account"),
    _refers("hold_id", "hold"),
    _one_of("state", "asked", "released", "refused"),
    CheckConstraint("points > 0 AND amount_minor > 0", name="amounts_are_positive"),
    UniqueConstraint("tenant", "idem"),
    UniqueConstraint("tenant", "programme", "hold_id"),
    Index("ix_payout_by_state", "tenant", "programme", "state", "at"),
)

# A message to a member: about a redemption, or that his data were changed.
DELIVERY = Table(
    "delivery",
    METADATA,
    _tenant(),
    _id("delivery_id"),
    _id("member_id"),
    _id("redemption_id", nullable=True),
    _word("medium", 8),
    Column("sealed_to_and_text", LargeBinary, nullable=False),
    _word("state", 16),
    Column("tries", Integer, nullable=False, server_default="0"),
    _moment("next_at"),
    _key("tenant", "delivery_id"),
    UniqueConstraint("tenant", "redemption_id", "medium"),
    Index("ix_delivery_due", "state", "next_at"),
    Index("ix_delivery_of_a_member", "tenant", "member_id"),
)

TENANT_TABLES = tuple(METADATA.sorted_tables)
"""All of them: each leads its key with `tenant`, and each has a row policy on PostgreSQL."""
