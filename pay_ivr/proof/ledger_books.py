"""What must be true of the books after `pay-ivr verify ledger`, asked of the database past all our code.

Rules are SQL that finds what contradicts them; then each answer that a caller was given is looked up: it is
in the books under its key, once, as it was told.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, text

from loyalty import engines

_SAME = "{0}.tenant = {1}.tenant AND {0}.programme = {1}.programme"


def _joined(statement: str) -> str:
    """`a~b` in a statement says that both rows are of one tenant and programme."""
    words = (word if "~" not in word else _SAME.format(*word.split("~")) for word in statement.split(" "))
    return " ".join(words)


RULES: Mapping[str, str] = MappingProxyType(
    {
        "each journal's entries sum to zero": """
            SELECT tenant, journal_id FROM entry GROUP BY tenant, programme, journal_id
            HAVING SUM(amount) <> 0""",
        "each programme's entries sum to zero": """
            SELECT tenant, programme FROM entry GROUP BY tenant, programme HAVING SUM(amount) <> 0""",
        "no balance is below its floor": """
            SELECT tenant, id FROM account WHERE posted - held < floor OR held < 0""",
        "each account stands at the sum of its entries": """
            SELECT account.tenant, account.id FROM account LEFT JOIN entry ON account~entry
            AND entry.account_id = account.id GROUP BY account.tenant, account.programme, account.id
            HAVING MAX(account.posted) <> COALESCE(SUM(entry.amount), 0)""",
        "what is held is the sum of the open holds": """
            SELECT account.tenant, account.id FROM account LEFT JOIN hold ON account~hold
            AND hold.account_id = account.id AND hold.state = 'open'
            GROUP BY account.tenant, account.programme, account.id
            HAVING MAX(account.held) <> COALESCE(SUM(hold.amount), 0)""",
        "what a member has lies in lots": """
            SELECT account.tenant, account.id FROM account LEFT JOIN lot ON account~lot
            AND lot.account_id = account.id WHERE account.kind = 'member'
            GROUP BY account.tenant, account.programme, account.id
            HAVING MAX(account.posted - account.held) <> COALESCE(SUM(lot.remaining), 0)""",
        "each lot lost what was used and is held of it": """
            SELECT lot.tenant, lot.id FROM lot
            LEFT JOIN (SELECT tenant, programme, lot_id, SUM(amount) AS points FROM lot_use
                       GROUP BY tenant, programme, lot_id) AS used ON lot~used AND used.lot_id = lot.id
            LEFT JOIN (SELECT hold_lot.tenant, hold_lot.programme, lot_id, SUM(hold_lot.amount) AS points
                       FROM hold_lot JOIN hold ON hold~hold_lot AND hold.id = hold_lot.hold_id
                       WHERE hold.state = 'open' GROUP BY hold_lot.tenant, hold_lot.programme, lot_id) AS kept
                   ON lot~kept AND kept.lot_id = lot.id
            WHERE granted - remaining <> COALESCE(used.points, 0) + COALESCE(kept.points, 0)""",
        "no key stands twice": """
            SELECT tenant, idem FROM journal GROUP BY tenant, idem HAVING COUNT(*) > 1""",
        "no receipt was earned twice": """
            SELECT tenant, receipt FROM journal WHERE receipt IS NOT NULL
            GROUP BY tenant, programme, receipt HAVING COUNT(*) > 1""",
        "nothing was reversed beyond itself": """
            SELECT journal.tenant, journal.id FROM journal JOIN journal AS back ON journal~back
            AND back.reverses = journal.id GROUP BY journal.tenant, journal.programme, journal.id
            HAVING SUM(back.points) > MAX(journal.points)""",
        "each ended hold was ended by one journal of its kind": """
            SELECT hold.tenant, hold.id FROM hold
            LEFT JOIN journal ON journal~hold AND journal.id = hold.ended_by WHERE hold.state <> 'open'
            AND COALESCE(journal.kind, '') <> CASE hold.state WHEN 'posted' THEN 'post' ELSE 'void' END""",
        "each voucher code was issued to one redemption": """
            SELECT tenant, redemption_id FROM voucher_code WHERE redemption_id IS NOT NULL
            GROUP BY tenant, redemption_id HAVING COUNT(*) > 1""",
        "each voucher that was paid for has its code": """
            SELECT redemption.tenant, redemption.redemption_id FROM redemption
            LEFT JOIN voucher_code ON redemption~voucher_code
            AND voucher_code.redemption_id = redemption.redemption_id
            WHERE redemption.kind = 'voucher' AND redemption.state = 'done'
            AND (voucher_code.code_id IS NULL OR voucher_code.code_id <> redemption.code_id)""",
        "each redemption's points were booked once": """
            SELECT redemption.tenant, redemption.redemption_id FROM redemption
            LEFT JOIN journal ON redemption~journal AND journal.id = redemption.journal_id
            WHERE redemption.state = 'done' AND COALESCE(journal.points, 0) <> redemption.points""",
    }
)


def faults(url: str) -> dict[str, int]:
    """Rule → how many rows contradict it; only rules that are broken."""
    engine = engines.writing(engines.url_of(url))
    try:
        with engine.begin() as connection:
            found = {name: len(connection.execute(text(_joined(rule))).all()) for name, rule in RULES.items()}
            found["each journal has its one entry for the log"] = _unlogged(connection)
    finally:
        engine.dispose()
    return {name: number for name, number in found.items() if number}


def _unlogged(connection: Connection) -> int:
    """Journals without exactly one entry in the outbox, and entries without a journal."""
    bodies = map(json.loads, connection.execute(text("SELECT body FROM outbox")).scalars())
    told = Counter(body["subject"] for body in bodies if body["name"].startswith("ledger.points."))
    booked = Counter(connection.execute(text("SELECT id, tenant FROM journal")).scalars())
    return sum(told[name] != booked[name] for name in told | booked)


def answers_in(folder: Path) -> list[dict[str, Any]]:
    """Every line that a worker wrote; the last of a killed one may be cut off."""
    lines = [line for path in folder.glob("*.answers") for line in path.read_bytes().split(b"\n") if line]
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def broken_promises(url: str, answers: Iterable[dict[str, Any]]) -> dict[str, int]:
    """What callers were told and is not so, by kind; empty when every word was kept."""
    engine = engines.writing(engines.url_of(url))
    with engine.begin() as connection:
        journals = {
            (tenant, idem): (journal, json.loads(result))
            for tenant, idem, journal, result in connection.execute(
                text("SELECT tenant, idem, id, result FROM journal")
            )
        }
        redemptions = set(connection.execute(text("SELECT redemption_id, tenant FROM redemption")).scalars())
    engine.dispose()
    broken: Counter[str] = Counter()
    owners: dict[str, str] = {}
    for told in answers:
        if "wrong" in told:
            broken[told["wrong"]] += 1
        elif "journal" in told:
            broken["an answer is not in the books"] += not _kept(told, journals)
        elif "redemption" in told:
            broken["a redemption is not in the books"] += told["redemption"] not in redemptions
            if told["code"]:
                first = owners.setdefault(told["code"], told["redemption"])
                broken["a code was given to two"] += first != told["redemption"]
    return {name: number for name, number in broken.items() if number}


def _kept(told: dict[str, Any], journals: dict[tuple[str, str], tuple[str, dict[str, Any]]]) -> bool:
    journal, result = journals.get((told["tenant"], told["idem"]), ("", {}))
    return journal == told["journal"] and result == {name: told[name] for name in ("hold_id", "available")}
