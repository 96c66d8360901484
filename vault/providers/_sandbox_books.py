"""The sandbox's own books: one SQLite file with its own commits, as a provider's books are.

Every function takes the open connection and is one transaction; the caller runs them all in one thread. One
key is executed once: its answer is stored in the transaction of the execution and given again. Executions
and steps are rows of their own, so that a double one cannot hide behind a key.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from vault.providers._sandbox_cards import INVALID, Face, letters
from vault.providers.base import (
    AttemptRequest,
    KeptCard,
    Notice,
    Order,
    Outcome,
    OutcomeKind,
    StepKind,
    StepOutcome,
    StepRequest,
    outcome_from_json,
)

FENCED = "fenced"
CARD_ON_FILE = "sbx_card_"
"""How tokens of kept cards begin."""

_SCHEMAS = (
    """
CREATE TABLE IF NOT EXISTS orders (
    provider_ref TEXT PRIMARY KEY, payment_id TEXT NOT NULL UNIQUE,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    attempt_key TEXT PRIMARY KEY, provider_ref TEXT NOT NULL, kind TEXT NOT NULL, raw_code TEXT NOT NULL,
    visible_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, provider_ref TEXT NOT NULL, attempt_key TEXT NOT NULL,
    kind TEXT NOT NULL);
""",
    """
ALTER TABLE orders ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE orders ADD COLUMN customer_ref TEXT NOT NULL DEFAULT '';
ALTER TABLE answers ADD COLUMN more TEXT NOT NULL DEFAULT '{}';
ALTER TABLE executions ADD COLUMN amount_minor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN charge_ref TEXT NOT NULL DEFAULT '';
ALTER TABLE executions ADD COLUMN settled INTEGER NOT NULL DEFAULT 1;
ALTER TABLE executions ADD COLUMN made_at REAL NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN visible_at REAL NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN hold_until REAL NOT NULL DEFAULT 0;
UPDATE executions SET charge_ref = 'sbx_ch_' || number, made_at = strftime('%s', 'now'),
    amount_minor = coalesce((SELECT amount_minor FROM orders AS o
                             WHERE o.provider_ref = executions.provider_ref), 0);
CREATE INDEX executions_of_payment ON executions (provider_ref);
CREATE TABLE steps (
    number INTEGER PRIMARY KEY AUTOINCREMENT, provider_ref TEXT NOT NULL, step_key TEXT NOT NULL UNIQUE,
    step TEXT NOT NULL, amount_minor INTEGER NOT NULL, kind TEXT NOT NULL, raw_code TEXT NOT NULL,
    step_ref TEXT NOT NULL, made_at REAL NOT NULL, visible_at REAL NOT NULL);
CREATE INDEX steps_of_payment ON steps (provider_ref);
CREATE TABLE tries (step_key TEXT PRIMARY KEY);
CREATE TABLE cards (
    token_ref TEXT PRIMARY KEY, customer_ref TEXT NOT NULL, label TEXT NOT NULL, brand TEXT NOT NULL,
    last4 TEXT NOT NULL, expiry_month INTEGER NOT NULL, expiry_year INTEGER NOT NULL);
CREATE TABLE links (
    link_ref TEXT PRIMARY KEY, link_key TEXT NOT NULL UNIQUE, token TEXT NOT NULL UNIQUE,
    provider_ref TEXT NOT NULL, amount_minor INTEGER NOT NULL, currency TEXT NOT NULL,
    settle_later INTEGER NOT NULL, expires_at TEXT NOT NULL, return_url TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, kind TEXT NOT NULL,
    provider_ref TEXT NOT NULL, made_at REAL NOT NULL);
""",
)
"""One script per version of the books; older books are brought up to date when they are opened."""


def opened(path: Path) -> sqlite3.Connection:
    """The books, private to this user, at the newest version."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    books = sqlite3.connect(path, isolation_level=None)
    books.execute("PRAGMA journal_mode=WAL")
    books.execute("PRAGMA synchronous=FULL")
    with transaction(books):
        version = int(books.execute("PRAGMA user_version").fetchone()[0])
        for script in _SCHEMAS[version:]:
            for statement in filter(str.strip, script.split(";")):
                books.execute(statement)
        books.execute(f"PRAGMA user_version = {len(_SCHEMAS)}")
    return books


@contextmanager
def transaction(books: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK."""
    books.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        books.execute("ROLLBACK")
        raise
    books.execute("COMMIT")


def order(books: sqlite3.Connection, wanted: Order) -> str:
    """The reference of a payment; the same payment id gives the same one."""
    provider_ref = f"sbx_ref_{wanted.payment_id}"
    values = (provider_ref, wanted.payment_id, wanted.amount_minor, wanted.currency, wanted.tenant)
    insert = "INSERT OR IGNORE INTO orders (provider_ref, payment_id, amount_minor, currency, tenant,"
    books.execute(f"{insert} customer_ref) VALUES (?, ?, ?, ?, ?, ?)", (*values, wanted.customer_ref))
    return provider_ref


# --- attempts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Execution:
    """What an attempt is to be executed as; times are seconds of the epoch."""

    request: AttemptRequest
    outcome: Outcome
    face: Face
    now: float
    visible_at: float
    hold_until: float
    """0 when nothing is held."""
    counts: bool = True
    """False: an account check, which moves no money."""


def execute(books: sqlite3.Connection, execution: Execution) -> Outcome:
    """The answer of an attempt: the stored one of its key, or that of its execution now."""
    request, outcome = execution.request, execution.outcome
    with transaction(books):
        if (known := stored(books, request.attempt_key)) is not None:
            return known
        if _closed(books, request.provider_ref):
            outcome = Outcome(OutcomeKind.DECLINED, "payment_closed")
        if outcome.kind is OutcomeKind.AUTHORISED:
            outcome = _completed(books, execution)
        kind = outcome.kind.value if execution.counts else f"checked_{outcome.kind}"
        what = (request.provider_ref, request.attempt_key, kind, request.amount_minor)
        books.execute(
            "INSERT INTO executions (provider_ref, attempt_key, kind, amount_minor, charge_ref, settled,"
            " made_at, visible_at, hold_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *what,
                outcome.step_ref,
                outcome.settled,
                execution.now,
                execution.visible_at,
                execution.hold_until,
            ),
        )
        _answer(books, request, outcome, execution.visible_at)
        if execution.counts:
            event = "settled" if outcome.settled else outcome.kind.value
            _event(books, f"payment.{event}", request.provider_ref, execution.now)
    return outcome


def _completed(books: sqlite3.Connection, execution: Execution) -> Outcome:
    """The authorisation with the id of its charge, and with the card on file where that was asked for."""
    request = execution.request
    kept = _keep(books, execution.face, request.provider_ref) if request.keep_card else None
    if not execution.counts:
        return Outcome(OutcomeKind.AUTHORISED, kept=kept)
    until = iso(execution.hold_until) if execution.hold_until else ""
    settled = not request.settle_later
    return Outcome(OutcomeKind.AUTHORISED, "", "", settled, f"sbx_ch_{letters()}", until, kept)


def _answer(books: sqlite3.Connection, request: AttemptRequest, outcome: Outcome, visible_at: float) -> None:
    more = {**asdict(outcome), "kind": outcome.kind.value}
    values = (request.attempt_key, request.provider_ref, outcome.kind.value, outcome.raw_code, visible_at)
    books.execute(
        "INSERT INTO answers (attempt_key, provider_ref, kind, raw_code, visible_at, more)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*values, json.dumps(more)),
    )


def stored(books: sqlite3.Connection, attempt_key: str) -> Outcome | None:
    """The answer of a key, whether anybody may see it yet or not."""
    wanted = "SELECT kind, raw_code, more FROM answers WHERE attempt_key = ?"
    found = books.execute(wanted, (attempt_key,)).fetchone()
    return found and outcome_from_json({"kind": found[0], "raw_code": found[1], **json.loads(found[2])})


def visible(books: sqlite3.Connection, attempt_key: str, now: float) -> Outcome | None:
    """The answer of a key as it may be told at `now`; None when there is none."""
    wanted = "SELECT visible_at FROM answers WHERE attempt_key = ?"
    found = books.execute(wanted, (attempt_key,)).fetchone()
    if found is not None and found[0] > now:
        return Outcome(OutcomeKind.UNKNOWN)
    return stored(books, attempt_key)


def fence(books: sqlite3.Connection, provider_ref: str, attempt_key: str, now: float) -> Outcome:
    """Writes a refusal under the key, unless there is an answer already, which is then given."""
    with transaction(books):
        if (known := stored(books, attempt_key)) is not None:
            return known
        request = AttemptRequest(provider_ref, attempt_key, 0, None, 0, "", "")
        refusal = Outcome(OutcomeKind.NEVER_SENT, FENCED)
        _answer(books, request, refusal, now)
    return refusal


# --- steps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """What the books hold about one payment; amounts in minor units."""

    charge_ref: str
    """Of the newest charge; empty without one."""
    currency: str
    authorised: int
    at_once: int
    """Settled with the authorisation."""
    hold_until: float
    last_kind: str
    """Of the newest execution; empty without one."""
    done: tuple[tuple[str, str, int, str], ...]
    """(step, step_key, amount, step_ref) of every step that was done."""

    def sum_of(self, step: str) -> int:
        """What all steps of a kind come to."""
        return sum(amount for name, _, amount, _ in self.done if name == step)

    def has(self, step: str) -> bool:
        """True when a step of the kind was done, be it over an amount of zero."""
        return any(name == step for name, *_ in self.done)

    @property
    def settled(self) -> int:
        """All settled money, before refunds."""
        return self.at_once + self.sum_of("settle")

    @property
    def is_settled(self) -> bool:
        """True once money has moved."""
        return self.at_once > 0 or self.has("settle")


def account(books: sqlite3.Connection, provider_ref: str, seen_at: float) -> Account:
    """The payment as it could be seen at a moment; `math.inf` for all that there is."""
    runs = books.execute(
        "SELECT kind, amount_minor, charge_ref, settled, hold_until FROM executions"
        " WHERE provider_ref = ? AND visible_at <= ? AND kind NOT LIKE 'checked%' ORDER BY number",
        (provider_ref, seen_at),
    ).fetchall()
    charges = [run for run in runs if run[0] == OutcomeKind.AUTHORISED.value]
    done = books.execute(
        "SELECT step, step_key, amount_minor, step_ref FROM steps"
        " WHERE provider_ref = ? AND visible_at <= ? AND kind = 'done' ORDER BY number",
        (provider_ref, seen_at),
    ).fetchall()
    found = books.execute("SELECT currency FROM orders WHERE provider_ref = ?", (provider_ref,)).fetchone()
    return Account(
        charge_ref=charges[-1][2] if charges else "",
        currency=found[0] if found else "",
        authorised=sum(charge[1] for charge in charges),
        at_once=sum(charge[1] for charge in charges if charge[3]),
        hold_until=charges[-1][4] if charges else 0.0,
        last_kind=runs[-1][0] if runs else "",
        done=tuple(done),
    )


def first_try(books: sqlite3.Connection, step_key: str) -> bool:
    """True once per key: faults by amount befall a step only the first time it is sent."""
    return bool(books.execute("INSERT OR IGNORE INTO tries VALUES (?)", (step_key,)).rowcount)


def take_step(
    books: sqlite3.Connection, step: str, request: StepRequest, now: float, visible_at: float
) -> StepOutcome:
    """The answer of a step: the stored one of its key, or that of its execution now."""
    with transaction(books):
        if (known := _stored_step(books, step, request)) is not None:
            return known
        held = account(books, request.provider_ref, float("inf"))
        refusal = step_refusal(step, held, request, now)
        kind = StepKind.REFUSED if refusal else StepKind.DONE
        made = {"settle": held.charge_ref, "void": f"sbx_void_{letters()}", "refund": f"sbx_re_{letters()}"}
        outcome = StepOutcome(kind, refusal, "" if refusal else made[step])
        what = (request.provider_ref, request.step_key, step, request.amount_minor)
        books.execute(
            "INSERT INTO steps (provider_ref, step_key, step, amount_minor, kind, raw_code, step_ref,"
            " made_at, visible_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*what, kind.value, refusal, outcome.step_ref, now, visible_at),
        )
        if not refusal:
            event = {"settle": "payment.settled", "void": "payment.voided", "refund": "payment.refunded"}[
                step
            ]
            _event(books, event, request.provider_ref, now)
    return outcome


def step_refusal(step: str, held: Account, request: StepRequest, now: float) -> str:
    """Why a step cannot be done; empty when it can."""
    if not held.charge_ref or request.currency != held.currency:
        return "currency_mismatch" if held.charge_ref else "nothing_held"
    if step == "refund":
        left = held.settled - held.sum_of("refund")
        return "not_settled" if not held.is_settled else _amount_refusal(request.amount_minor, left)
    for is_so, code in (
        (held.is_settled, "already_settled"),
        (held.has("void"), "already_voided"),
        (0 < held.hold_until <= now, "hold_lapsed"),
    ):
        if is_so:
            return code
    return _amount_refusal(request.amount_minor, held.authorised) if step == "settle" else ""


def _amount_refusal(amount_minor: int, most_minor: int) -> str:
    if amount_minor <= 0:
        return "amount_malformed"
    return "amount_too_large" if amount_minor > most_minor else ""


def _stored_step(books: sqlite3.Connection, step: str, request: StepRequest) -> StepOutcome | None:
    wanted = "SELECT step, provider_ref, amount_minor, kind, raw_code, step_ref FROM steps WHERE step_key = ?"
    found = books.execute(wanted, (request.step_key,)).fetchone()
    if found is None:
        return None
    if found[:3] != (step, request.provider_ref, request.amount_minor):
        return StepOutcome(StepKind.REFUSED, "key_reused")
    return StepOutcome(StepKind(found[3]), found[4], found[5])


def _closed(books: sqlite3.Connection, provider_ref: str) -> bool:
    wanted = "SELECT count(*) FROM steps WHERE provider_ref = ? AND step = 'void' AND kind = 'done'"
    return bool(books.execute(wanted, (provider_ref,)).fetchone()[0])


def times_charged(books: sqlite3.Connection, provider_ref: str) -> int:
    """How often a payment was authorised: 0 or 1, or the design is broken."""
    wanted = "SELECT count(*) FROM executions WHERE provider_ref = ? AND kind = 'authorised'"
    return int(books.execute(wanted, (provider_ref,)).fetchone()[0])


# --- kept cards -------------------------------------------------------------------------------------------


def _keep(books: sqlite3.Connection, face: Face, provider_ref: str) -> KeptCard:
    wanted = "SELECT customer_ref FROM orders WHERE provider_ref = ?"
    found = books.execute(wanted, (provider_ref,)).fetchone()
    customer_ref = (found and found[0]) or f"sbx_cus_{letters()}"
    token_ref = f"{CARD_ON_FILE}{letters()}"
    shown = (face.brand, face.last4, face.expiry_month, face.expiry_year)
    books.execute(
        "INSERT INTO cards VALUES (?, ?, ?, ?, ?, ?, ?)", (token_ref, customer_ref, face.label, *shown)
    )
    return KeptCard(customer_ref, token_ref, *shown)


def kept_face(books: sqlite3.Connection, token_ref: str) -> Face:
    """The face of a kept card; `INVALID` when it is not on file (any more)."""
    wanted = "SELECT label, brand, last4, expiry_month, expiry_year FROM cards WHERE token_ref = ?"
    found = books.execute(wanted, (token_ref,)).fetchone()
    return Face(*found) if found else INVALID


def forget(books: sqlite3.Connection, customer_ref: str, token_ref: str) -> None:
    """The card is on file no more."""
    books.execute("DELETE FROM cards WHERE customer_ref = ? AND token_ref = ?", (customer_ref, token_ref))


# --- events and time --------------------------------------------------------------------------------------


def _event(books: sqlite3.Connection, kind: str, provider_ref: str, now: float) -> None:
    values = (f"sbx_evt_{letters()}", kind, provider_ref, now)
    books.execute("INSERT INTO events (event_id, kind, provider_ref, made_at) VALUES (?, ?, ?, ?)", values)


def events(books: sqlite3.Connection, after: int) -> list[tuple[int, Notice]]:
    """Number and notice of every event after number `after`, oldest first."""
    wanted = (
        "SELECT number, event_id, made_at, kind, provider_ref FROM events WHERE number > ? ORDER BY number"
    )
    found = books.execute(wanted, (after,)).fetchall()
    return [(row[0], Notice(row[1], iso(row[2]), row[3], row[4])) for row in found]


def iso(moment: float) -> str:
    """Seconds of the epoch as UTC, ISO 8601 with milliseconds and Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
