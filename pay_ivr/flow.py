"""What an IVR flow is: one async function that talks to one `Line`; found by its file's name.

A flow never touches SIP, media or the vault. When the caller hangs up, the flow is cancelled where it
stands; cleaning up is the switchboard's work, so a flow needs no `finally`.
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from pay_ivr.call import Call, EndReason
from pay_ivr.codes import PreparedPayment
from pay_ivr.facts import CallError
from pay_ivr.payment_voice import Sentence
from vault import Payment, PaymentChanged

FLOW_PACKAGES = ("pay_ivr.flows", "loyalty.flows")
"""Where flows live; a name is a file: `agent_assisted`, or `loyalty.voucher`."""


@dataclass(frozen=True)
class Keyed:
    """What a question brought: digits, or none with the reason `no_input` | `timeout` | `too_many`."""

    digits: str
    outcome: str


class Line(Protocol):
    """Everything a flow may do, and nothing else."""

    call: Call

    async def connect_agent(self) -> bool:
        """Rings the number's agents in order, bridges the first; False (and refused) when none answers."""

    async def answer(self) -> None:
        """Answers the caller without an agent."""

    async def agent_gone(self) -> None:
        """Returns when the agent's leg is over."""

    async def say(self, *sentences: Sentence) -> None:
        """Speaks to the caller and returns when it is over or a key stopped it."""

    async def ask_digits(self, *sentences: Sentence, digits: int) -> Keyed:
        """Asks for at most 10 open digits; refused from the moment the call has a payment (vault's rule)."""

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


def load_flow(name: str) -> Flow:
    """The flow of that name; CallError("flow_unknown") names what exists."""
    if name not in flow_names():
        raise CallError("flow_unknown", "No flow has that name; flows are: " + ", ".join(flow_names()))
    package, _, module = name.rpartition(".")
    flow: Flow = importlib.import_module(f"{package or 'pay_ivr'}.flows.{module}").run
    return flow


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
