"""docs/states.md, made from the tables in the code: `python -m tests.support.states` writes it anew."""

from pathlib import Path

from loyalty.members.states import CARD_MOVES, MEMBER_MOVES
from loyalty.redemption.states import MOVES as REDEMPTION_MOVES
from pay_ivr import call
from pay_ivr.sip import legstate, machines
from vault import capture, keypad, payment, pin_capture

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "states.md"

HEAD = """# States

Every state machine of the house, as its table stands in the code. A pair that is not listed is refused. This
page is generated (`python -m tests.support.states`); a test keeps it equal to the code."""


def document() -> str:
    """The whole page."""
    sections = [
        HEAD,
        "## A payment (`vault/payment.py`)\n\n" + payment.table_text(),
        "## A field of a capture (`vault/capture.py`)\n\n"
        + _rows(
            ("state", "event", "next"),
            [(state, event, after) for (state, event), after in capture.MOVES.items()],
        ),
        "## A PIN entry (`vault/pin_capture.py`)\n\n"
        + _rows(
            ("purpose", "field", "event", "then open"),
            [(*key, after or "complete") for key, after in pin_capture.MOVES.items()],
        ),
        "## A key on the keypad (`vault/keypad.py`)\n\n"
        + _rows(
            ("key", "a `*` just before", "asks for"),
            [(kind, "yes" if fresh else "no", action) for (kind, fresh), action in keypad.GRAMMAR.items()],
        ),
        "## A call (`pay_ivr/call.py`)\n\n" + call.table_as_markdown(),
        "## A member's card (`loyalty/members/states.py`)\n\n"
        + _rows(
            ("state", "act", "next"), [(state, act, after) for (state, act), after in CARD_MOVES.items()]
        ),
        "## A member (`loyalty/members/states.py`)\n\n"
        + _rows(
            ("status", "act", "next"), [(state, act, after) for (state, act), after in MEMBER_MOVES.items()]
        ),
        "## A redemption (`loyalty/redemption/states.py`)\n\n"
        + _rows(
            ("state", "act", "next"),
            [(state, act, after) for (state, act), after in REDEMPTION_MOVES.items()],
        ),
        "## An INVITE leg (`pay_ivr/sip/legstate.py`)\n\n```\n" + legstate.printed() + "\n```",
    ]
    sections += [
        f"## SIP transaction: {kind.name.lower().replace('_', ' ')} (`pay_ivr/sip/machines.py`)\n\n"
        f"```\n{machines.printed(kind)}\n```"
        for kind in machines.Kind
    ]
    return "\n\n".join(sections) + "\n"


def _rows(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(f"{cell}" for cell in row) + " |" for row in rows)])


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
