"""Two dozen faults that ledgers have been shipped with, planted one at a time: the state machine finds each.

A copy of the package is changed in one place and the machine of `test_machine.py` runs against it, in a
process of its own. The copy without a fault passes, so that what kills a mutant is its fault.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = 100
"""At 25 steps; most mutants fall within five."""
LIMIT_S = 900
"""A minute for the copy without a fault; a busy machine once took more than five."""
BESIDE = ("audit", "pay_ivr", "vault", "tests", "infra")

SURVIVED, FOUND = 0, 3
"""How the machine's process ends. Anything else is a mutant that cannot even run, which proves nothing."""

MACHINE = f"""
import traceback
from pathlib import Path
import loyalty
from loyalty.database import Database
from loyalty.errors import LoyaltyError
from tests.loyalty.ledger.test_machine import run_machine

def is_finding(error):
    if isinstance(error, BaseExceptionGroup):  # Hypothesis met it twice, not the same way
        return all(map(is_finding, error.exceptions))
    return isinstance(error, AssertionError | LoyaltyError)

assert Path(loyalty.__file__).is_relative_to(Path.cwd()), loyalty.__file__
try:
    run_machine(Database.open("mutant.db"), {EXAMPLES}, 25)
except Exception as error:
    traceback.print_exc()
    raise SystemExit({FOUND} if is_finding(error) else 1)
"""

MUTANTS = {
    "none": ("arithmetic", "", ""),
    "a receipt earns twice": ("arithmetic", "if command.receipt in book.receipts:", "if False:"),
    "points past their date are spent": (
        "arithmetic",
        "if not lot.is_over(book.today) and only in",
        "if only in",
    ),
    "points past their date are told": (
        "book",
        "account.posted - account.held - over",
        "account.posted - account.held",
    ),
    "lots without a date are spent first": (
        "book",
        "self.expires or date.max, self.id",
        "self.expires or date.min, self.id",
    ),
    "more is spent than there is": (
        "arithmetic",
        "parts if _sum(parts) == points else",
        "parts if parts else",
    ),
    "a hold ends twice": ("arithmetic", 'hold if hold.state == "open" else', "hold if hold.state else"),
    "a freed hold keeps its lots": ("arithmetic", "    draft.give_back(hold.parts)\n", ""),
    "a freed hold stays held": ("book", "self.accounts[hold.account].held -= hold.points", "pass"),
    "an ended hold is not stored": (
        "storing",
        '        (_HOLD_ENDED, _changed(books, "holds", _ended)),\n',
        "",
    ),
    "a journal is reversed beyond itself": (
        "arithmetic",
        "left = past.points - past.reversed",
        "left = past.points",
    ),
    "a part comes back twice": (
        "arithmetic",
        "_slice(past.uses, past.reversed, points)",
        "_slice(past.uses, 0, points)",
    ),
    "a reversal makes a new lot": (
        "arithmetic",
        "        draft.give_back(parts)\n        draft.use(Part(part.lot, -part.points) for part in parts)\n",
        "        draft.grant(source.id, points, None)\n",
    ),
    "a debt is forgotten": ("arithmetic", "if not lot.is_over(self.book.today) else 0", "* 0"),
    "a debt is a negative balance": (
        "arithmetic",
        "draft.post(debt.id, -left)",
        "draft.post(target.id, -left)",
    ),
    "what ended is owed as well": ("arithmetic", "-min(left, lot.expired)", "0"),
    "expired points stay in no lot's uses": (
        "arithmetic",
        "    parts = draft.take(due, points)\n    draft.use(parts)\n",
        "    parts = draft.take(due, points)\n",
    ),
    "a refused command leaves a trace": (
        "arithmetic",
        "                self.draw(Part(lot.id, part))\n",
        "                lot.remaining -= part\n                self.book.touched.add(lot.id)\n",
    ),
    "a page of lots is all there is": (
        "next_lots",
        "    return sum(lot.remaining for lot in reached if not lot.is_over(book.today)) < points",
        "    return False",
    ),
    "lots without a date are reached over a gap": (
        "next_lots",
        "reached = dated if len(dated) == FIRST else lots",
        "reached = lots",
    ),
    "a page full of what is over is enough": (
        "next_lots",
        "for lot in reached if not lot.is_over(book.today)) < points",
        "for lot in reached) < points",
    ),
    "a key may be used for anything": ("group", "if digest != order.digest:", "if False:"),
    "a key is not known within its group": (
        "group",
        "            answered[order.name] = order.digest, done.answer\n",
        "",
    ),
    "commands are decided in the order of their keys": (
        "group",
        "    for order in orders:\n        known =",
        "    orders = sorted(orders, key=lambda one: one.name)\n    for order in orders:\n        known =",
    ),
}
"""Name -> module of loyalty/ledger, what stands there, what the mutant has instead."""


@pytest.mark.proof
@pytest.mark.parametrize("name", MUTANTS)
def test_the_machine_kills_every_mutant(name: str, tmp_path: Path):
    """L5: the machine fails with each fault, and only with one."""
    module, there, instead = MUTANTS[name]
    shutil.copytree(ROOT / "loyalty", tmp_path / "loyalty", ignore=shutil.ignore_patterns("__pycache__"))
    for package in BESIDE:
        (tmp_path / package).symlink_to(ROOT / package)
    source = tmp_path / "loyalty" / "ledger" / f"{module}.py"
    text = source.read_text(encoding="utf-8")
    assert not there or 1 == text.count(there), "the place of the mutant has moved"
    source.write_text(text.replace(there, instead) if there else text, encoding="utf-8")

    run = subprocess.run(
        [sys.executable, "-c", MACHINE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    assert (SURVIVED if name == "none" else FOUND) == run.returncode, run.stderr[-2000:]


def test_every_mutant_has_its_place():
    """A change of the code that moves one is noticed at once, not in the nightly run."""
    for name, (module, there, _) in MUTANTS.items():
        text = (ROOT / "loyalty" / "ledger" / f"{module}.py").read_text(encoding="utf-8")
        assert not there or 1 == text.count(there), name
