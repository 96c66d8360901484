"""Indexes begin with what tells rows apart, not with the tenant; a redemption names the shop that has it.

On PostgreSQL, a young database has no statistics: it took foreign keys to a journal by whatever index began
with the tenant, and read all of the tenant's journals for each row.

Releases from before this one have made some of these indexes in the new form by `0001` itself. So nothing is
taken for granted: a constraint is looked for, and an index of a name is made anew, whatever it was.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Columns = tuple[str, ...]

TENANT = ("tenant",)
BOTH = ("tenant", "programme")


class Index(NamedTuple):
    """An index of one name, as it was and as it is; no columns: it is not there."""

    table: str
    name: str
    old: Columns
    new: Columns
    unique: bool = False
    where: str | None = None


INDEXES = (
    Index(
        "account",
        "one_clawback_of_a_member",
        (*BOTH, "member_account"),
        ("member_account", *BOTH),
        unique=True,
    ),
    Index("journal", "ix_journal_by_moment", (*BOTH, "at"), ("at", *BOTH)),
    Index("journal", "one_journal_of_a_key", (), ("idem", *TENANT), unique=True),
    Index(
        "journal",
        "one_reversal_of_a_point",
        (),
        (*BOTH, "reverses", "reversed_before"),
        unique=True,
        where="reverses IS NOT NULL",
    ),
    Index(
        "journal",
        "one_earn_of_a_receipt",
        (),
        (*BOTH, "receipt"),
        unique=True,
        where="receipt IS NOT NULL",
    ),
    Index("hold", "ix_hold_of_an_account", (*BOTH, "account_id"), ("account_id", *BOTH)),
    Index("lot", "ix_lot_of_a_journal", (*BOTH, "journal_id"), ("journal_id", *BOTH)),
)
OLD: Mapping[str, tuple[Columns, ...]] = {
    "journal": ((*TENANT, "idem"), (*BOTH, "receipt"), (*BOTH, "reverses", "reversed_before")),
    "hold": ((*BOTH, "journal_id"),),
}
NEW: Mapping[str, tuple[Columns, ...]] = {"journal": (), "hold": (("journal_id", *BOTH),)}
"""Unique constraints; those of the journal have become indexes."""


def upgrade() -> None:
    """Indexes and constraints as they are now; the shop of an order."""
    _change(OLD, NEW, {index: index.new for index in INDEXES})
    # as a reward's `source`; null: of our own stock, or ordered before it was kept
    kept = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")
    op.add_column("redemption", sa.Column("source", kept, nullable=True))


def downgrade() -> None:
    """As it first was; an order is looked up where the file sends its reward."""
    op.drop_column("redemption", "source")
    _change(NEW, OLD, {index: index.old for index in INDEXES})


def _change(
    gone: Mapping[str, tuple[Columns, ...]],
    made: Mapping[str, tuple[Columns, ...]],
    indexes: Mapping[Index, Columns],
) -> None:
    """Whatever is there, these constraints and indexes are there afterwards."""
    for index in indexes:
        op.drop_index(index.name, index.table, if_exists=True)
    for table in made:
        _constrain(table, gone[table], made[table])
    for index, columns in indexes.items():
        if columns:
            _create(index, columns)


def _create(index: Index, columns: Columns) -> None:
    where = None if index.where is None else sa.text(index.where)
    op.create_index(
        index.name,
        index.table,
        list(columns),
        unique=index.unique,
        sqlite_where=where,
        postgresql_where=where,
    )


def _constrain(table: str, gone: Iterable[Columns], made: Iterable[Columns]) -> None:
    """Unique constraints of a table, where they are not what they should be."""
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_unique_constraints(table)}
    stale = [name for columns in gone if (name := _name(table, columns)) in there]
    missing = {name: columns for columns in made if (name := _name(table, columns)) not in there}
    if op.get_context().dialect.name != "sqlite":
        for name in stale:
            op.drop_constraint(name, table, type_="unique")
        for name, columns in missing.items():
            op.create_unique_constraint(name, table, list(columns))
    elif stale or missing:
        _make_anew(table, stale, missing)


def _name(table: str, columns: Columns) -> str:
    return f"uq_{table}_{'_'.join(columns)}"


def _make_anew(table: str, stale: Iterable[str], missing: Mapping[str, Columns]) -> None:
    """A change of constraints on SQLite (sqlite.org/lang_altertable.html §7).

    Its rows, and its indexes and triggers in SQLite's own words, come along; alembic's batch would read the
    table into Python and lose the triggers, and take five times as long on an empty one.
    """
    run = op.get_bind().exec_driver_sql
    query = (
        "SELECT type, sql FROM sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL ORDER BY type = 'table'"
    )
    *others, (_, body) = run(query, (table,)).all()
    for name in stale:
        body = re.sub(rf",\s*CONSTRAINT {name} UNIQUE \([^)]*\)", "", body)
    for name, columns in missing.items():
        inner, _, options = body.rpartition(")")
        body = f"{inner.rstrip()},\n\tCONSTRAINT {name} UNIQUE ({', '.join(columns)})\n){options}"
    run(f"CREATE TABLE new_{table} ({body.partition('(')[2]}")
    run(f"INSERT INTO new_{table} SELECT * FROM {table}")  # noqa: S608
    run(f"DROP TABLE {table}")
    run(f"ALTER TABLE new_{table} RENAME TO {table}")
    for _, sql in others:
        run(sql)
