"""The providers of every tenant: which one a payment goes to, and how each of them does lately.

`vault/routing.py` decides; this file keeps the breakers and calls. A payment is tied to a provider when its
capture opens (`begin`): nothing is keyed then, so that an outage costs the caller nothing. After a definite
end of an attempt `following` may tie it to another one; then card, reference and key are new. What was
charged stays where it was charged: settle, void, refund, standing and the feed go `at` that provider.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import structlog

from vault.door import PaymentState, Refused, VaultError
from vault.providers.base import (
    NEVER_SENT,
    UNKNOWN,
    NotSentError,
    Order,
    Outcome,
    OutcomeKind,
    Provider,
    Secrets,
    load_provider,
    provider_names,
)
from vault.routing import Breaker, Decision, Heard, Tried, able, first, following, heard_in
from vault.store import AttemptRow
from vault.tempo import Tempo
from vault.tenant import Tenant

log: structlog.stdlib.BoundLogger = structlog.get_logger("vault.router")

PREPARE_TIMEOUT_S = 10.0
"""Nothing is charged by preparing; a caller waits for the first prompt meanwhile."""

Place = tuple[str, str]
"""Tenant and provider."""


@dataclass(frozen=True)
class Begun:
    """Where a payment begins."""

    provider: str
    provider_ref: str


class Router:
    """Every provider of this node, by tenant and name."""

    def __init__(
        self,
        routes: Mapping[str, Sequence[str]],
        providers: Mapping[Place, Provider],
        *,
        cascading: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[Place], Provider] | None = None,
        unusable: Mapping[Place, VaultError] = MappingProxyType({}),
    ) -> None:
        """`load` makes a provider anew, for `renew`; `unusable` are those that it could not make."""
        self._routes = routes
        self._providers = dict(providers)
        self._cascading = frozenset(cascading)
        """Tenants that let a soft decline move on."""
        self._clock = clock
        self._load = load
        self._unusable = dict(unusable)
        self._replaced: list[Provider] = []
        """Providers made anew meanwhile: what is under way at them still ends there."""
        self._breakers: dict[Place, Breaker] = {}
        self._tempo = Tempo()

    @classmethod
    def opened(
        cls,
        data_dir: Path,
        tenants: Mapping[str, Tenant],
        others: Iterable[Place] = (),
        secrets: Secrets | None = None,
    ) -> "Router":
        """All providers of `tenants`, and `others`, at which payments of tenants without a file are open.

        One that cannot be made, for want of a key or of its library, is refused to that tenant alone.
        """
        places = {(name, provider) for name, tenant in tenants.items() for provider in tenant.section.route}
        places |= {place for place in others if place[1] in provider_names()}

        def load(place: Place) -> Provider:
            tenant, provider = place
            known = tenants.get(tenant)
            config = known.config_of(provider) if known else {"tenant": tenant}
            return load_provider(provider, data_dir, config, secrets)

        made = {place: _made(load, place) for place in sorted(places)}
        providers = {place: one for place, one in made.items() if not isinstance(one, VaultError)}
        unusable = {place: one for place, one in made.items() if isinstance(one, VaultError)}
        routes = {name: tenant.section.route for name, tenant in tenants.items()}
        cascading = {name for name, tenant in tenants.items() if tenant.section.cascade}
        return cls(routes, providers, cascading=cascading, load=load, unusable=unusable)

    def at(self, tenant: str, provider: str) -> Provider:
        """The provider of a charge.

        `Refused("tenant_unknown")` when the node does not have it any more, `Refused("provider_unusable")`
        when it could not be made (`unusable` says why).
        """
        found = self._providers.get((tenant, provider))
        if (tenant, provider) in self._unusable:
            raise Refused("provider_unusable", "The payment provider is not set up. Run pay-ivr check.")
        if found is None:
            raise Refused("tenant_unknown", "The tenant is not configured any more. Restore its file.")
        return found

    def places(self) -> tuple[Place, ...]:
        """Every tenant with each of its usable providers, sorted."""
        return tuple(sorted(self._providers))

    @property
    def unusable(self) -> Mapping[Place, VaultError]:
        """What keeps a provider from its tenant, by place."""
        return self._unusable

    async def renew(self, provider: str) -> None:
        """That provider made anew for every tenant, with the secrets of now; what cannot be made stays."""
        for place in sorted({*self._providers, *self._unusable}):
            if place[1] != provider or self._load is None:
                continue
            made = _made(self._load, place)
            if isinstance(made, VaultError):
                log.error("payment.provider.kept", tenant=place[0], provider=provider, code=made.code)
                continue
            self._unusable.pop(place, None)
            if place in self._providers:
                self._replaced.append(self._providers[place])
            self._providers[place] = made

    async def close(self) -> None:
        """Closes every provider."""
        for provider in (*self._providers.values(), *self._replaced):
            await provider.close()

    # --- choosing -----------------------------------------------------------------------------------------

    def first(self, order: Order, *, by_link: bool = False) -> str:
        """The provider that a payment would begin at now."""
        return first(self._route(order, by_link=by_link), self._of_tenant(order.tenant), self._clock())

    async def begin(self, order: Order, *, by_link: bool = False) -> Begun:
        """Prepares a payment that has no attempt yet, at the first provider to which anything can be sent.

        `Refused("provider_unreachable")` when that is nobody, or when a provider may have heard us: what it
        began is asked for again there, and not begun elsewhere.
        """
        left = list(self._route(order, by_link=by_link))
        while left:
            name = first(left, self._of_tenant(order.tenant), self._clock())
            left.remove(name)
            self._let_through((order.tenant, name))
            try:
                return Begun(name, await self._prepare(order, name))
            except NotSentError:
                log.warning("payment.provider.unreachable", payment_id=order.payment_id, provider=name)
        raise _unreachable()

    def following(
        self, order: Order, attempts: Sequence[AttemptRow], payable: Collection[str] = ()
    ) -> Decision:
        """Where the next attempt of a payment goes, after all its attempts so far, oldest first.

        `payable`: the providers at which a link of the payment is open.
        """
        return following(
            self._route(order),
            [tried_of(attempt) for attempt in attempts],
            self._of_tenant(order.tenant),
            self._clock(),
            cascade=order.tenant in self._cascading,
            payable=payable,
        )

    def _route(self, order: Order, *, by_link: bool = False) -> Sequence[str]:
        of_tenant = self._routes.get(order.tenant, ())
        route = [name for name in of_tenant if (order.tenant, name) not in self._unusable]
        if of_tenant and not route:
            self.at(order.tenant, of_tenant[0])  # says why there is nobody
        can = [name for name in route if able(order, self.at(order.tenant, name).abilities, by_link=by_link)]
        if not can:
            raise Refused(
                "provider_unable", "No provider of this tenant can do that. Choose another way to pay."
            )
        return can

    # --- calling ------------------------------------------------------------------------------------------

    async def outcome(
        self, tenant: str, provider: str, sending: Awaitable[Outcome], timeout_s: float
    ) -> Outcome:
        """What one attempt came to, whoever sends it; anything but a definite answer is UNKNOWN."""
        place = tenant, provider
        self._let_through(place)
        begun = self._clock()
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await sending
            heard = heard_in(outcome)
            if outcome.kind in _ANSWERS:
                self._tempo.heard(provider, self._clock() - begun)
        except NotSentError:
            outcome, heard = NEVER_SENT, Heard.NEVER_SENT
        except TimeoutError:
            outcome, heard = UNKNOWN, Heard.TIMED_OUT
        except Exception as error:  # noqa: BLE001 - whatever happened after the first byte, the outcome is unknown
            log.warning("payment.attempt.failed", provider=provider, error=type(error).__name__)
            outcome, heard = UNKNOWN, Heard.LOST
        self._hear(place, heard)
        return outcome

    def answer_time_s(self, provider: str) -> float:
        """How long an attempt that is not sent should seem to take (`vault/tempo.py`)."""
        return self._tempo.drawn(provider)

    async def _prepare(self, order: Order, name: str) -> str:
        """The reference; `NotSentError` and refusals pass through, all other failures become a refusal."""
        place = order.tenant, name
        try:
            async with asyncio.timeout(PREPARE_TIMEOUT_S):
                reference = await self.at(*place).prepare(order)
        except NotSentError:
            self._hear(place, Heard.NEVER_SENT)
            raise
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is charged by preparing, so any failure is a refusal
            self._hear(place, Heard.TIMED_OUT if isinstance(error, TimeoutError) else Heard.LOST)
            log.warning("payment.provider.failed", payment_id=order.payment_id, error=type(error).__name__)
            raise _unreachable() from None
        self._hear(place, Heard.ANSWERED)
        return reference

    # --- breakers -----------------------------------------------------------------------------------------

    def _of_tenant(self, tenant: str) -> dict[str, Breaker]:
        return {provider: breaker for (owner, provider), breaker in self._breakers.items() if owner == tenant}

    def _let_through(self, place: Place) -> None:
        if place in self._breakers:
            self._breakers[place] = self._breakers[place].tried(self._clock())

    def _hear(self, place: Place, heard: Heard) -> None:
        before = self._breakers.get(place, Breaker())
        after = self._breakers[place] = before.after(heard, self._clock())
        if bool(before.closed_to) != bool(after.closed_to):
            name = "payment.provider.left" if after.closed_to else "payment.provider.back"
            log.warning(name, tenant=place[0], provider=place[1])


def _made(load: Callable[[Place], Provider], place: Place) -> Provider | VaultError:
    """The provider of a place, or why there is none: its key, its options, its library."""
    try:
        return load(place)
    except VaultError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a library may fail in any way; the other tenants go on
        sentence = f"vault/providers/{place[1]} does not load: {type(error).__name__}."
        return VaultError("provider_not_loaded", sentence)


_KINDS = {
    PaymentState.AUTHORISING: None,
    PaymentState.AUTHORISED: OutcomeKind.AUTHORISED,
    PaymentState.SETTLED: OutcomeKind.AUTHORISED,
    PaymentState.CHECKED: OutcomeKind.AUTHORISED,
    PaymentState.DECLINED: OutcomeKind.DECLINED,
    PaymentState.NEEDS_ACTION: OutcomeKind.REQUIRES_ACTION,
}
_ANSWERS = {OutcomeKind.AUTHORISED, OutcomeKind.DECLINED}
_UNSENT = {"never_sent", "fenced"}
"""Raw codes of attempts that the provider certainly does not have. What we did not send through a fault of
our own has other codes, and stays where it is like a decline: nobody else would have got it either."""


def tried_of(attempt: AttemptRow) -> Tried:
    """A stored attempt as the router looks at it; a state that says nothing definite counts as unknown."""
    kind = _KINDS.get(attempt.state, OutcomeKind.UNKNOWN)
    if kind is OutcomeKind.DECLINED and attempt.raw_code in _UNSENT:
        kind = OutcomeKind.NEVER_SENT
    return Tried(attempt.provider, kind, attempt.raw_code, attempt.advice)


def _unreachable() -> Refused:
    sentence = "The provider does not answer; nothing was charged. Try again."
    return Refused("provider_unreachable", sentence, retryable=True)
