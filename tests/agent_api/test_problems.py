"""Every refusal in the source has a row at the desk, or a reason why no agent and no program can meet it."""

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from agent_api.members import CODES
from agent_api.problems import PROBLEMS
from vault import PaymentState, Refused
from vault.payment import Move, after

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("vault", "pay_ivr", "agent_api", "loyalty")
ERRORS = {"Refused", "Unreachable", "CallError", "ChannelError", "DeskError", "LoyaltyError"}

INTERNAL = {
    # Messages between our own processes: a wrong one is a mistake in the code, whoever asks.
    "bad_limits", "bad_message", "bad_request", "id_malformed", "illegal_move", "op_unknown", "unknown_op",
    # Filled in by the switchboard with every payment; nobody at the desk can leave it out.
    "agent_missing", "sca_basis_missing",
    # Met by an operator at the command line: keys and books.
    "busy", "day_malformed", "item_unknown", "key_in_use", "key_newest", "key_unknown", "key_versions_used",
    "nothing_to_explain", "page_unknown", "span_too_long",
    # Met by a payer on his page, which says it in his language (agent_api/pages.py).
    "link_over", "link_unknown",
    # Met by an operator at the command line: endpoints of outgoing webhooks.
    "endpoint_unknown", "endpoints_used", "url_refused",
    # Met by an operator at the command line, or at a start: the database and files of a loyalty programme.
    "code_taken", "database_driver", "database_in_use", "database_newer", "database_refused",
    "database_roles", "database_unguarded", "database_unsound", "database_unusable", "database_url",
    "file_exists", "file_too_long", "file_unreadable", "header_wrong", "stock_too_long",
    # Met by an operator at the command line: orders whose shop has left the tenant's file.
    "code_known", "code_malformed", "order_open", "redemption_over", "redemption_unknown",
    # Ours alone: commands of the ledger, which no asker writes himself; a seal that only a cell can judge.
    "account_kind", "card_invalid", "command_malformed", "hold_lost", "key_malformed", "redemption_state",
    "sealed_unreadable",
    # The desk asks for the programme first; a flow without its service stops the start.
    "flow_unserved", "no_programme",
    # Met by a member on his page, which says it in his language (agent_api/member_web.py).
    "pin_challenge", "pin_seal_broken",
    # A provider that contradicts itself; the broker reads it as an unknown outcome.
    "nothing_held", "provider_ref_lost",
    # Answers to a kill, which the broker hears and drops.
    "cell_unknown",
    # Met by the flow of a call, which says a sentence to the caller or ends the call.
    "flow_unknown", "no_common_codec", "tries_exceeded",
    # Legs, ports and prompts of the media process, ordered by the switchboard and its flows alone.
    "leg_exists", "leg_role", "leg_secure", "legs_full", "port_invalid", "port_taken", "ports_full",
    "prompt_size", "prompt_unknown", "prompts_full",
}  # fmt: skip

ANSWERED = {
    # Made by agent_api/problems.py from a validation error or an HTTP error of the web server.
    "body_invalid", "method_not_allowed", "pan_not_allowed", "route_unknown",
    # Every PersonError is one.
    "person_invalid",
}  # fmt: skip

PASSED_ON = {
    # Constructors whose code comes from elsewhere: a reply of another process, or a code counted below.
    ("agent_api/members.py", "CODES[code]"),  # counted from the table
    ("agent_api/problems.py", "code"),  # ANSWERED
    ("loyalty/reset.py", "error.code"),  # raised in the vault
    ("loyalty/service.py", "error.code"),  # raised in the vault
    ("pay_ivr/store.py", "error.code"),  # at the start of the app, before there is a desk
    ("vault/media/client.py", "reply['code']"),  # raised in vault/media
    ("vault/payment.py", "code"),  # the table of moves, asked in `refused_moves`
}


def codes_of(path: Path) -> Iterator[str | tuple[str, str]]:
    """The codes of all refusals that a file makes; file and source text of one that is not written out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not call.args or not isinstance(call.func, ast.Name):
            continue
        if call.func.id in ERRORS:
            yield from (
                written(one) or (str(path.relative_to(ROOT)), ast.unparse(one))
                for one in either(call.args[0])
            )


def either(code: ast.expr) -> tuple[ast.expr, ...]:
    """Both sides of `a if … else b`, or the code itself."""
    return (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,)


def written(code: ast.expr) -> str | None:
    """The text of a literal or of the one shared constant."""
    if isinstance(code, ast.Name) and code.id == "BAD_MESSAGE":
        return "bad_message"
    return code.value if isinstance(code, ast.Constant) and isinstance(code.value, str) else None


def refused_moves() -> set[str]:
    """The codes of every move that the table of payments does not know."""
    codes = set()
    for state, move in product(PaymentState, Move):
        try:
            after(state, move)
        except Refused as refused:
            codes.add(refused.code)
    return codes


@pytest.fixture(scope="module")
def found() -> set[str | tuple[str, str]]:
    """What all refusals in the source are called."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return (
        {code for path in paths for code in codes_of(path)} | refused_moves() | ANSWERED | set(CODES.values())
    )


def test_every_code_is_written_out_where_it_is_raised(found: set[str | tuple[str, str]]) -> None:
    """A code that is computed could reach the desk without a row; the few that are passed on are named."""
    assert {one for one in found if isinstance(one, tuple)} == PASSED_ON


def test_every_code_has_a_row_or_is_internal(found: set[str | tuple[str, str]]) -> None:
    """No refusal without a next step, and no row or exemption that nothing raises."""
    codes = {one for one in found if isinstance(one, str)}

    assert set(PROBLEMS) | INTERNAL == codes
    assert set(PROBLEMS) & INTERNAL == set()
