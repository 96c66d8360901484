"""What is true at the host, compared with what our file says: the words of every way in which they differ."""

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault.books.report import Reconciliation
from vault.door import PaymentState
from vault.payment import UNRESOLVED
from vault.proof.stripe_books import Thing
from vault.proof.stripe_host import StripeHost

DOUBLE = "double_charges"
UNREPORTED = "charged_not_reported"
UNCHARGED = "reported_not_charged"
UNRESOLVED_END = "unresolved"
REFUNDS = "refunds_differ"
HELD = "holds_differ"
BOOKS = "books_differ"
LOG = "log_differs"
SURPRISES = "surprises"
FINDINGS = (DOUBLE, UNREPORTED, UNCHARGED, UNRESOLVED_END, REFUNDS, HELD, BOOKS, LOG, SURPRISES)
"""Every one must be zero."""


@dataclass
class Findings:
    """How often each thing is wrong, and one sentence for each."""

    counts: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    def add(self, kind: str, sentence: str) -> None:
        """One thing that is wrong."""
        self.counts[kind] += 1
        self.sentences.append(f"{kind}: {sentence}")


@dataclass
class _Theirs:
    """What the host holds of one payment, or of one order."""

    settled_minor: int = 0
    held_minor: int = 0
    refunded_minor: int = 0
    charges: int = 0
    """Charges by which the card was debited or is held."""


def unresolved(file: Path, before: str) -> list[str]:
    """Payments whose attempt or step is not known, and was not at `before` (UTC, ISO 8601) either."""
    wanted = "SELECT payment_id FROM payments WHERE updated_at < ? AND (state IN (?, ?) OR step IS NOT NULL)"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as conn:
        return [name for (name,) in conn.execute(wanted, (before, *(state.value for state in UNRESOLVED)))]


def judge(host: StripeHost, file: Path, report: Reconciliation, findings: Findings) -> None:
    """Adds everything that is wrong at the end of one life."""
    theirs = _theirs(host)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        rows = conn.execute("SELECT * FROM payments").fetchall()
        steps = conn.execute("SELECT payment_id FROM steps WHERE state IN ('under_way', 'unknown')")
        waiting = conn.execute("SELECT count(*) FROM webhook_inbox WHERE state = 'taken'").fetchone()[0]
        log = [json.loads(body) for (body,) in conn.execute("SELECT body FROM outbox")]
        for (payment_id,) in steps.fetchall():
            findings.add(UNRESOLVED_END, f"{payment_id} has a step under way")
    charges: Counter[str] = Counter()
    for row in rows:
        _judge_payment(row, theirs[row["payment_id"]], findings)
        charges[row["reference"]] += theirs[row["payment_id"]].charges
    for reference, count in charges.items():
        if count > 1:
            findings.add(DOUBLE, f"{reference} is charged {count} times")
    if waiting:
        findings.add(UNRESOLVED_END, f"{waiting} webhooks are not looked at")
    _judge_log(rows, log, findings)
    _judge_books(report, host, findings)


def _judge_payment(row: sqlite3.Row, theirs: _Theirs, findings: Findings) -> None:
    name, state = f"{row['payment_id']} ({row['state']})", PaymentState(row["state"])
    if state in UNRESOLVED:
        findings.add(UNRESOLVED_END, f"{name} has an attempt under way")
        return
    if theirs.settled_minor != row["settled_minor"]:
        kind = UNREPORTED if theirs.settled_minor > row["settled_minor"] else UNCHARGED
        findings.add(kind, f"{name}: {theirs.settled_minor} there, {row['settled_minor']} here")
    held = row["amount_minor"] if state is PaymentState.AUTHORISED else 0
    if theirs.held_minor != held:
        findings.add(HELD, f"{name}: {theirs.held_minor} held there, {held} here")
    if theirs.refunded_minor != row["refunded_minor"]:
        findings.add(REFUNDS, f"{name}: {theirs.refunded_minor} there, {row['refunded_minor']} here")


def _judge_log(rows: list[sqlite3.Row], log: list[dict[str, Any]], findings: Findings) -> None:
    """Every yes of a bank stands in the log exactly once."""
    told = Counter(entry["subject"] for entry in log if entry["name"] == "payment.attempt.authorised")
    for row in rows:
        yes = {"authorised", "settled", "voided", "refunded"}
        expected = int(row["state"] in yes and not row["check_only"])
        if told[row["payment_id"]] != expected:
            findings.add(LOG, f"{row['payment_id']} is reported {told[row['payment_id']]} times")


def _judge_books(report: Reconciliation, host: StripeHost, findings: Findings) -> None:
    if not report.clean:
        words = [f"{item.kind} {item.match.value} {item.payment_id}" for item in report.items if item.differs]
        findings.add(BOOKS, f"feed {report.feed}, {report.differences} differences: {', '.join(words)}")
    there: Counter[str] = Counter()
    for entry in host.books.every("balance_transaction"):
        there[entry["currency"].upper()] += entry["net"]
    for currency, accounts in report.balances.items():
        if sum(accounts.values()):
            findings.add(BOOKS, f"{currency} does not sum to zero")
        if accounts["psp_receivable"] != there[currency]:
            findings.add(BOOKS, f"{currency}: {there[currency]} there, {accounts['psp_receivable']} here")
    missing = [currency for currency, net in there.items() if net and currency not in report.balances]
    for currency in missing:
        findings.add(BOOKS, f"{currency} is not in our books")


def _theirs(host: StripeHost) -> defaultdict[str, _Theirs]:
    """By our payment id, which every intent carries in its metadata."""
    found: defaultdict[str, _Theirs] = defaultdict(_Theirs)
    owner: dict[str, str] = {}
    for intent in host.books.every("payment_intent"):
        owner[intent["id"]] = intent["metadata"].get("payment_id", "")
        found[owner[intent["id"]]].settled_minor += intent["amount_received"]
    for charge in host.books.every("charge"):
        _count(charge, found[owner[charge["payment_intent"]]])
    for refund in host.books.every("refund"):
        if refund["status"] not in {"failed", "canceled"}:
            found[owner[refund["payment_intent"]]].refunded_minor += refund["amount"]
    return found


def _count(charge: Thing, theirs: _Theirs) -> None:
    if charge["status"] != "succeeded":
        return
    if charge["captured"]:
        theirs.charges += 1
    elif not charge["refunded"]:
        theirs.charges += 1
        theirs.held_minor += charge["amount"]
