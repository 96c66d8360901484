"""A provider that does as it is told and writes down every call: for tests of whoever calls providers."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from vault.door import Refused
from vault.providers.base import (
    Abilities,
    AttemptRequest,
    FeedEntry,
    Link,
    LinkOrder,
    Notice,
    NotSentError,
    Order,
    Outcome,
    OutcomeKind,
    Standing,
    StandingState,
    StepKind,
    StepOutcome,
    StepRequest,
)

ABLE = Abilities(
    tokenise_first=True,
    moto=True,
    settle_later=True,
    partial_settle=True,
    keeps_cards=True,
    links=True,
    settlement_feed=False,
    key_window_s=82_800,
)


class Act(StrEnum):
    """What a call comes to."""

    AUTHORISED = "authorised"
    SOFT = "soft"
    HARD = "hard"
    FRAUD = "fraud"
    ACTION = "action"
    UNSENT = "unsent"
    NOT_SENT = "not_sent"
    """Raised, not told."""
    CUT = "cut"
    SERVER_ERROR = "server_error"
    LOCK_TIMEOUT = "lock_timeout"
    STALL = "stall"


_TOLD = {
    Act.AUTHORISED: Outcome(OutcomeKind.AUTHORISED, settled=True, step_ref="ch_one"),
    Act.SOFT: Outcome(OutcomeKind.DECLINED, "issuer_not_available", "try_again_later"),
    Act.HARD: Outcome(OutcomeKind.DECLINED, "do_not_honor"),
    Act.FRAUD: Outcome(OutcomeKind.DECLINED, "processing_error", "do_not_try_again"),
    Act.ACTION: Outcome(OutcomeKind.REQUIRES_ACTION, "authentication_required"),
    Act.UNSENT: Outcome(OutcomeKind.NEVER_SENT),
    Act.SERVER_ERROR: Outcome(OutcomeKind.UNKNOWN, "500"),
    Act.LOCK_TIMEOUT: Outcome(OutcomeKind.UNKNOWN, "lock_timeout"),
}


@dataclass(frozen=True)
class Called:
    """One call as it arrived."""

    provider: str
    method: str
    provider_ref: str = ""
    key: str = ""
    token: str = ""


@dataclass
class ScriptedProvider:
    """Takes the next act for each call of `prepare` and `authorise`; without one everything goes well."""

    name: str
    calls: list[Called] = field(default_factory=list)
    acts: Iterator[Act] = field(default_factory=lambda: iter(()))
    prepares: Iterator[Act] = field(default_factory=lambda: iter(()))
    abilities: Abilities = ABLE

    def able(self, **abilities: bool) -> "ScriptedProvider":
        return replace(self, abilities=replace(self.abilities, **abilities))

    def _note(self, method: str, *details: str) -> None:
        self.calls.append(Called(self.name, method, *details))

    async def prepare(self, order: Order) -> str:
        reference = f"{self.name}_{order.payment_id}"
        self._note("prepare", reference)
        await _acted(next(self.prepares, Act.AUTHORISED))
        return reference

    async def authorise(self, request: AttemptRequest) -> Outcome:
        self._note("authorise", request.provider_ref, request.attempt_key, request.token or "")
        return await _acted(next(self.acts, Act.AUTHORISED))

    async def fetch(self, provider_ref: str, attempt_key: str) -> Outcome:
        self._note("fetch", provider_ref, attempt_key)
        return Outcome(OutcomeKind.UNKNOWN)

    async def fence(self, provider_ref: str, attempt_key: str) -> Outcome:
        self._note("fence", provider_ref, attempt_key)
        return Outcome(OutcomeKind.UNKNOWN)

    async def settle(self, request: StepRequest) -> StepOutcome:
        return self._step("settle", request)

    async def void(self, request: StepRequest) -> StepOutcome:
        return self._step("void", request)

    async def refund(self, request: StepRequest) -> StepOutcome:
        return self._step("refund", request)

    def _step(self, step: str, request: StepRequest) -> StepOutcome:
        self._note(step, request.provider_ref, request.step_key)
        return StepOutcome(StepKind.DONE)

    async def standing(self, provider_ref: str) -> Standing:
        self._note("standing", provider_ref)
        return Standing(StandingState.OPEN)

    async def verify_card(self, request: AttemptRequest) -> Outcome:
        self._note("verify_card", request.provider_ref, request.attempt_key, request.token or "")
        return Outcome(OutcomeKind.AUTHORISED)

    async def forget_card(self, customer_ref: str, token_ref: str) -> None:
        self._note("forget_card", customer_ref, "", token_ref)

    async def open_link(self, order: LinkOrder) -> Link:
        self._note("open_link", "", order.link_key)
        return Link("link_one", "https://pay.example/one", order.expires_at)

    async def close_link(self, link_ref: str) -> None:
        self._note("close_link", link_ref)

    async def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        self._note("settlements")
        for entry in ():
            yield entry

    def parse_webhook(
        self, headers: Mapping[str, str], raw: bytes, secrets: Sequence[bytes], now_s: float
    ) -> Notice:
        raise Refused("webhook_invalid", "A scripted provider sends none.")

    async def cell_config(self) -> dict[str, Any]:
        return {}

    def cell_secret(self) -> bytes:
        return b""

    async def wire(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "never_sent"}

    async def close(self) -> None:
        self._note("close")


async def _acted(act: Act) -> Outcome:
    match act:
        case Act.NOT_SENT:
            raise NotSentError
        case Act.CUT:
            raise ConnectionResetError
        case Act.STALL:
            await asyncio.sleep(60)
    return _TOLD[act]
