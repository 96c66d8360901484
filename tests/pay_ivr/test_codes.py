"""Payment codes: one payment at a time, guessing is slow, nothing is lost when a call dies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from pay_ivr import codes as codes_module
from pay_ivr.call import ANONYMOUS
from pay_ivr.codes import (
    ANONYMOUS_TRIES_MAX,
    TAKEN_MS_MAX,
    TRIES_MAX,
    TRIES_WINDOW_MS,
    PaymentCodes,
    code_after,
)
from pay_ivr.facts import CallError
from pay_ivr.store import Store, code_tries
from tests.support.line import a_payment
from vault import PaymentState

NOW_MS = 1_800_000_000_000
CALLER = "4930555"
VALID_S = 7200


@pytest.fixture
async def codes(tmp_path: Path) -> AsyncIterator[PaymentCodes]:
    """Codes in a fresh app.db."""
    store = await Store.open(tmp_path / "app.db")
    yield PaymentCodes(store)
    await store.close()


async def issue(codes: PaymentCodes, tenant: str = "demo") -> str:
    """A code that is valid for two hours."""
    return await codes.issue(
        tenant, 1995, "EUR", "INV 1", "invoice", VALID_S, now_ms=NOW_MS, by="key:abcd1234"
    )


def wrong(code: str) -> str:
    """Another eight digits."""
    return f"{(int(code) + 1) % 10**8:08d}"


async def test_a_code_is_eight_digits_and_stands_for_its_payment(codes: PaymentCodes) -> None:
    """What was issued is what the caller gets."""
    code = await issue(codes)
    taken = await codes.take(code, CALLER, NOW_MS, tenant="demo")
    assert len(code) == 8
    assert code.isdigit()
    assert taken is not None
    assert (taken.amount_minor, taken.currency, taken.reference, taken.purpose) == (
        1995,
        "EUR",
        "INV 1",
        "invoice",
    )


async def test_two_calls_at_once_get_one_payment(codes: PaymentCodes) -> None:
    """The second caller hears that the code is not known."""
    code = await issue(codes)
    taken = await asyncio.gather(*(codes.take(code, f"49{n}", NOW_MS, tenant="demo") for n in range(8)))
    assert sum(one is not None for one in taken) == 1


async def test_a_failed_payment_frees_its_code_and_a_paid_one_does_not(codes: PaymentCodes) -> None:
    """Single use unless the payment failed."""
    code = await issue(codes)
    await codes.take(code, CALLER, NOW_MS, tenant="demo")
    await codes.bind(code, "pay_one")
    await codes.close_payment("pay_one", paid=False)
    assert await codes.take(code, CALLER, NOW_MS, tenant="demo") is not None
    await codes.close(code, paid=True)
    assert await codes.take(code, CALLER, NOW_MS, tenant="demo") is None


@pytest.mark.parametrize(
    ("state", "free"),
    [(PaymentState.VOIDED, True), (PaymentState.REFUNDED, False), (PaymentState.UNKNOWN, None)],
)
def test_a_code_follows_what_is_found_out_later(state: PaymentState, free: bool | None) -> None:
    """A voided charge leaves the bill open; an unknown one is waited for."""
    paid = code_after(a_payment(state), call_over=True)
    assert (None if free is None else not free) == paid


async def test_a_code_of_another_tenant_or_run_out_is_unknown(codes: PaymentCodes) -> None:
    """Neither tells that the code exists."""
    code = await issue(codes, "other")
    assert await codes.take(code, CALLER, NOW_MS, tenant="demo") is None
    assert await codes.take(code, CALLER, NOW_MS + VALID_S * 1000, tenant="other") is None


async def test_a_code_of_a_call_that_died_is_free_again_later(codes: PaymentCodes) -> None:
    """Without a payment after twenty minutes; with one only by its outcome, or it could be charged twice."""
    code = await issue(codes)
    await codes.take(code, CALLER, NOW_MS, tenant="demo")
    later = NOW_MS + TAKEN_MS_MAX + 1
    assert await codes.take(code, CALLER, NOW_MS + TAKEN_MS_MAX, tenant="demo") is None
    assert await codes.take(code, CALLER, later, tenant="demo") is not None
    await codes.bind(code, "pay_one")
    assert await codes.take(code, CALLER, later + TAKEN_MS_MAX + 1, tenant="demo") is None


@pytest.mark.parametrize(("caller", "tries"), [(CALLER, TRIES_MAX), (ANONYMOUS, ANONYMOUS_TRIES_MAX)])
async def test_guessing_is_stopped_per_number_for_an_hour(
    codes: PaymentCodes, caller: str, tries: int
) -> None:
    """Then even the right code is not taken; a number beside it is not hindered."""
    code = await issue(codes)
    for _ in range(tries):
        assert await codes.take(wrong(code), caller, NOW_MS, tenant="demo") is None
    with pytest.raises(CallError) as refused:
        await codes.take(code, caller, NOW_MS, tenant="demo")
    assert refused.value.code == "tries_exceeded"
    assert await codes.take(code, "4940111", NOW_MS, tenant="demo") is not None
    await codes.close(code, paid=False)
    assert await codes.take(code, caller, NOW_MS + TRIES_WINDOW_MS, tenant="demo") is not None


async def test_guessing_with_forged_numbers_is_stopped_per_tenant(
    codes: PaymentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number guesses once; then nobody's code is taken for an hour. Other tenants notice nothing."""
    monkeypatch.setattr(codes_module, "TENANT_TRIES_MAX", 20)
    code, other = await issue(codes), await issue(codes, "other")
    for number in range(20):
        assert await codes.take(wrong(code), f"49{number}", NOW_MS, tenant="demo") is None
    with pytest.raises(CallError) as refused:
        await codes.take(code, CALLER, NOW_MS, tenant="demo")
    assert refused.value.code == "tries_exceeded"
    assert await codes.take(other, CALLER, NOW_MS, tenant="other") is not None
    assert await codes.take(code, CALLER, NOW_MS + TRIES_WINDOW_MS, tenant="demo") is not None


async def test_tries_are_forgotten_without_anybody_issuing_a_code(codes: PaymentCodes) -> None:
    """The table holds the numbers of the last hour only."""
    for number in range(20):
        await codes.take("00000000", f"49{number}", NOW_MS, tenant="demo")
    await codes.take("00000000", CALLER, NOW_MS + TRIES_WINDOW_MS, tenant="demo")
    async with codes._store.engine.connect() as conn:
        assert [CALLER] == [row.caller for row in await conn.execute(select(code_tries))]


async def test_a_right_code_does_not_buy_more_guesses(codes: PaymentCodes) -> None:
    """Wrong, right, wrong: the wrong ones add up."""
    code = await issue(codes)
    for _ in range(TRIES_MAX - 1):
        await codes.take(wrong(code), CALLER, NOW_MS, tenant="demo")
    assert await codes.take(code, CALLER, NOW_MS, tenant="demo") is not None
    await codes.take(wrong(code), CALLER, NOW_MS, tenant="demo")
    with pytest.raises(CallError):
        await codes.take(code, CALLER, NOW_MS, tenant="demo")


async def test_a_tenant_has_a_limit_of_open_codes(
    codes: PaymentCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few among many is what keeps guessing thin; codes that ran out make room."""
    monkeypatch.setattr(codes_module, "OPEN_MAX", 3)
    for _ in range(3):
        await issue(codes)
    with pytest.raises(CallError) as refused:
        await issue(codes)
    assert refused.value.code == "codes_exceeded"
    await issue(codes, "other")
    later = NOW_MS + VALID_S * 1000
    assert await codes.issue("demo", 1, "EUR", "R", "invoice", 60, now_ms=later, by="key:abcd1234")
