"""What an IVR flow is: one async function that talks to one `Line`; found by its file's name.

A flow never touches SIP, media or the vault. One of another package gets that package's service beside its
line: `async def run(line, loyalty)`. When the caller hangs up, the flow is cancelled where it
stands; cleaning up is the switchboard's work, so a flow needs no `finally`.
"""

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from pay_ivr.call import Call, EndReason
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.payment_voice import Sentence
from vault import Payment, PaymentChanged, PinPurpose, PinResult

FLOW_PACKAGES = ("pay_ivr.flows", "loyalty.flows")
"""Where flows live; a name is a file: `agent_assisted`, or `loyalty.portal`."""
FIRST_S = 8.0
"""How long a question waits for the first key after its last word; `0 < FIRST_S <= 60`."""
NEXT_S = 4.0
"""How long it waits for each further key."""


@dataclass(frozen=True)
class Keyed:
    """What a question brought: digits, or none, and how it ended."""

    digits: str
    outcome: str
    """`done`; `too_few` (the caller stopped before the least number); `no_input`; `help` (`**`); `too_many`
    (more than ten in a run, nothing of them is told); `stopped`; `captured`; `timeout` (media is silent)."""


class Line(Protocol):
    """Everything a flow may do, and nothing else."""

    call: Call
    agents: tuple[str, ...]
    """Whom `connect_agent` can ring at all."""

    async def connect_agent(self, context: Mapping[str, str] | None = None) -> bool:
        """Rings the number's agents in order, bridges the first; False when none answers.

        A caller who is not answered yet is refused then; one who is hears music meanwhile and stays with the
        flow. `context` is what the agent is shown: `Call.context`.
        """

    async def answer(self) -> None:
        """Answers the caller without an agent, or goes on without the one who has gone."""

    async def agent_gone(self) -> None:
        """Returns when the agent's leg is over; `answer` then takes the caller back into the flow."""

    def speak_language(self, tag: str) -> None:
        """From the next sentence on, the caller hears this language."""

    def speak_slowly(self) -> None:
        """From the next sentence on, the caller is spoken to a quarter slower."""

    async def say(self, *sentences: Sentence) -> None:
        """Speaks to the caller and returns when it is over or a key stopped it."""

    async def ask_digits(
        self,
        *sentences: Sentence,
        digits: int,
        digits_min: int = 1,
        first_s: float = FIRST_S,
        next_s: float = NEXT_S,
        ahead: bool = True,
    ) -> Keyed:
        """Asks for at most 10 open digits: `#` ends, `*` clears, `**` asks for help; a key ends the prompt.

        `ahead`: keys that came since the last answer count; without it only those of this question do.
        """

    async def ask_pin(self, member_id: str, purpose: PinPurpose, born: str = "") -> PinResult:
        """Has a PIN keyed into a cell: prompts, problems and the result are spoken, no digit comes here.

        `born`: ISO date that a new PIN must not be made of.
        """

    def open_payment(self) -> Payment | None:
        """The call's payment that is not final yet; `next_change` then tells the steps after this moment."""

    async def pay(self, prepared: PreparedPayment) -> Payment:
        """Creates the prepared payment without an agent and starts the capture."""

    async def next_change(self, payment_id: str) -> PaymentChanged:
        """The next step of a payment, in order, none lost."""

    async def start_capture(self, payment_id: str) -> Payment:
        """Asks again for what a retry needs."""

    async def ask_confirm(self, payment_id: str) -> Payment:
        """Asks the caller to press 1; the key is read by the cell."""

    async def charge(self, payment_id: str) -> Payment:
        """Charges a payment that is ready and confirmed."""

    async def take_code(self, code: str) -> PreparedPayment | None:
        """What an API-issued code stands for, now taken; None when it is unknown or used.

        CallError("tries_exceeded") when this caller has guessed too often.

        The switchboard gives it back when the call ends and nothing was charged under it.
        """

    def hang_up(self, reason: EndReason) -> None:
        """Ends the call."""


Flow = Callable[[Line], Awaitable[None]]


class Flows:
    """Every flow by its name, each with what it needs beside its line."""

    def __init__(self, services: Mapping[str, object] | None = None) -> None:
        """`services`: package → what its flows get as second argument; flows of `pay_ivr` get none."""
        self._services = dict(services or {})

    def load(self, name: str) -> Flow:
        """The flow of that name, ready to run; CallError("flow_unknown" | "flow_unserved") names flows."""
        run = load_flow(name)
        package = name.rpartition(".")[0]
        if not package:
            return run
        if package not in self._services:
            usable = ", ".join(one for one in flow_names() if self._serves(one))
            raise CallError("flow_unserved", f"{name} has no {package} to work with; flows are: {usable}")
        service = self._services[package]
        return lambda line: run(line, service)

    def _serves(self, name: str) -> bool:
        package = name.rpartition(".")[0]
        return not package or package in self._services


def load_flow(name: str) -> Callable[..., Awaitable[None]]:
    """A flow file's `run`; CallError("flow_unknown") names what exists."""
    if name not in flow_names():
        raise CallError("flow_unknown", "No flow has that name; flows are: " + ", ".join(flow_names()))
    package, _, module = name.rpartition(".")
    run: Callable[..., Awaitable[None]] = importlib.import_module(
        f"{package or 'pay_ivr'}.flows.{module}"
    ).run
    return run


def flow_names() -> tuple[str, ...]:
    """Every flow file there is."""
    names = []
    for package in FLOW_PACKAGES:
        prefix = "" if package == "pay_ivr.flows" else package.removesuffix("flows")
        try:
            folder = resources.files(package)
        except ModuleNotFoundError:
            continue
        names += [
            prefix + entry.name.removesuffix(".py")
            for entry in folder.iterdir()
            if entry.name.endswith(".py") and not entry.name.startswith("_")
        ]
    return tuple(sorted(names))
