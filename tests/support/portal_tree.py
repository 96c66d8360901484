"""The portal's tree of questions, found by calling it: every key of every question is pressed once.

`python -m tests.support.portal_tree` writes it into docs/flows.md; a test keeps the page equal to the code.
"""

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loyalty.flows import portal
from loyalty.members import CardState, Member, Reason
from loyalty.service import Loyalty
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence
from tests.support.line import HANG_UP, ScriptedLine
from tests.support.members import LANGUAGES, NUMBER, OPEN_AT, POSTCODE, TENANT, enrol, stock, sunny
from vault import PinResult

DOCUMENT = Path(__file__).parents[2] / "docs" / "flows.md"
BEGIN, END = "<!-- the portal's tree -->\n", "<!-- end of the tree -->"
ANSWERS = {
    Key.LANGUAGE_OFFER: ("2",),
    Key.IDENTIFY_MENU: ("1", "2"),
    Key.ASK_NUMBER: (NUMBER,),
    Key.ASK_POSTCODE: (POSTCODE,),
    Key.ASK_BIRTHDATE: ("12311980",),
    Key.CONFIRM_OR_BACK: ("1", "2"),
}
"""What is keyed at questions whose sentences do not say their digits; all others are pressed one by one."""


@dataclass(frozen=True)
class Step:
    """What followed one answer: what was done and told, and the question that came then."""

    told: tuple[str, ...]
    question: str
    """Empty when the call was over."""
    answers: tuple[str, ...]


class Exploring(ScriptedLine):
    """A caller who keys a path and then hangs up."""

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(agent=True, call_id="call_" + "_".join(path))
        self.call.languages = LANGUAGES
        self.keyed.extend([*path, HANG_UP])
        self.pins.extend([PinResult.OK] * 2)
        self.lose_agent(None)
        self._depth = len(path)
        self._since = 0
        self.told: list[str] = []
        self.last: tuple[Sentence, ...] = ()

    async def say(self, *sentences: Sentence) -> None:
        await super().say(*sentences)
        self._note(*(one.key.value for one in sentences))

    async def ask_pin(self, *values: object, **more: object) -> PinResult:  # type: ignore[override]
        self._note(f"PIN ({values[1]})")
        return await super().ask_pin(*values, **more)  # type: ignore[arg-type]

    async def connect_agent(self, *values: object) -> bool:  # type: ignore[override]
        self._note("an agent")
        return await super().connect_agent(*values)  # type: ignore[arg-type]

    async def ask_digits(self, *sentences: Sentence, **wanted: object) -> object:  # type: ignore[override]
        own = _own(sentences)
        self._note(*(one.key.value for one in sentences[: len(sentences) - len(own)]))
        self.last = own
        questions, kept = len(self.questions), self.told[:]
        if questions < self._depth:
            self.told = []
        answer = await super().ask_digits(*sentences, **wanted)  # type: ignore[arg-type]
        self.told = [] if questions < self._depth else kept
        self.last = ()
        return answer

    def _note(self, *names: str) -> None:
        self.told += names


def _own(sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """The question among what is said with it: the last sentence, or all that name a digit."""
    named = tuple(one for one in sentences if "digit" in one.values)
    return named or tuple(sentences[-1:])


async def _step(loyalty: Loyalty, member: Member, path: Sequence[str]) -> Step:
    line = Exploring(path)
    try:
        await portal.run(line, loyalty, lambda: OPEN_AT)
    except asyncio.CancelledError:
        # `say` has noted the last question's own words, too: they are the question.
        own = [one.key.value for one in line.last]
        told = tuple(one for one in line.told if one not in own)
        step = Step(told, _name(line.last), _answers(line.last))
    else:
        step = Step(tuple(line.told), "", ())
    if (await loyalty.members.get(TENANT, member.member_id)).card_state is CardState.LOCKED:
        await loyalty.unlock_card(TENANT, member.member_id, by="agent:anna", reason=Reason.CLEARED)
    return step


def _name(question: Sequence[Sentence]) -> str:
    keys = {one.key for one in question}
    if Key.MENU_LANGUAGE in keys:
        return "MENU"
    if keys & {Key.REWARD_DONATION, Key.REWARD_VOUCHER}:
        return "OFFERS"
    return question[-1].key.value


def _answers(question: Sequence[Sentence]) -> tuple[str, ...]:
    fixed = ANSWERS.get(question[-1].key)
    return fixed or tuple(sorted(str(one.values["digit"]) for one in question))


async def tree() -> str:
    """The tree as text, one line for each answer."""
    with tempfile.TemporaryDirectory(prefix="payivr-") as folder:
        async with sunny(Path(folder)) as loyalty:
            member = await enrol(loyalty, points=1_000_000)
            await stock(loyalty, count=20)
            lines = ["the number is dialled: portal_welcome -> language_offer"]
            await _grow(loyalty, member, (), lines, 1)
    return "\n".join(lines)


async def _grow(
    loyalty: Loyalty, member: Member, path: tuple[str, ...], lines: list[str], depth: int
) -> None:
    question = await _step(loyalty, member, path)
    for answer in question.answers:
        step = await _step(loyalty, member, (*path, answer))
        shown = answer if len(answer) == 1 else "#" * len(answer)
        goal = step.question or "the end"
        lines.append("  " * depth + f"{shown}: " + " -> ".join((*dict.fromkeys(step.told), goal)))
        menu_again = step.question == "MENU" and question.question != "ask_number"
        if step.question and not menu_again and step.question != question.question:
            await _grow(loyalty, member, (*path, answer), lines, depth + 1)


def page(text: str, drawn: str) -> str:
    """The page with this tree."""
    return re.sub(
        re.escape(BEGIN) + ".*?" + re.escape(END),
        lambda _: f"{BEGIN}```\n{drawn}\n```\n{END}",
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    DOCUMENT.write_text(page(DOCUMENT.read_text("utf-8"), asyncio.run(tree())), "utf-8")
