"""A tenant of Stripe's with real processes: broker, spawner, cells and media, and the simulator over TLS."""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.memory import search
from tests.support.stripe_process import Account, stripe_account
from tests.support.zone import CVV, Desk, ZoneProcesses, desk_at
from vault import Field, FieldProblem, NextStep, PaymentState, Refused, Why

TENANT = """
name = "Shop"
live = false

[payment]
provider = "stripe"
currencies = ["EUR"]
amount_max_minor = 500000
purposes = ["booking"]

[payment.stripe]
api_base = "{url}"
ca_file = "{ca_file}"
"""
MASTERCARD, WRONG_CVV = "5555555555554444", "4000000000000127"
KEYING = frozenset({Why.CREATED, Why.CAPTURE_OPENED, Why.KEY, Why.FIELD_OPENED, Why.FIELD_COMPLETE})
RESOLVED_S = 15.0
"""A lost answer is fetched after 1, 3 and 8 s."""
_numbers = count(1)


@dataclass
class Shop:
    zone: ZoneProcesses
    account: Account


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    root = Path(tempfile.mkdtemp(prefix="payivr-"))
    root.chmod(0o755)
    with stripe_account(root) as account:
        zone = ZoneProcesses(root)
        text = TENANT.format(url=account.url, ca_file=account.ca_file)
        (zone.tenants_dir / "shop.toml").write_text(text)
        (zone.tenants_dir / "keyless.toml").write_text(text)
        for role in ("broker", "cell"):
            _put(zone.data_dir / "keys", f"stripe.shop.{role}", account.keys[role])
        try:
            zone.start()
            zone.wait_until_probed()
            yield Shop(zone, account)
        finally:
            zone.stop()
    shutil.rmtree(root, ignore_errors=True)


def _put(folder: Path, name: str, secret: str) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, secret.encode())
    os.close(descriptor)


@pytest.fixture
async def desk(shop: Shop) -> AsyncIterator[Desk]:
    async with desk_at(shop.zone, f"s{next(_numbers)}") as desk:
        yield desk


def charges(shop: Shop, amount_minor: int) -> int:
    """How often a cardholder was charged this amount."""
    return [one["amount"] for one in shop.account.control("charges")].count(amount_minor)


@pytest.mark.root
async def test_a_caller_pays_through_stripe(shop: Shop, desk: Desk) -> None:
    """From the first key to the receipt; no long-lived process has seen a digit."""
    paid = await desk.charged(pan=MASTERCARD, tenant="shop", amount_minor=2001)
    assert (PaymentState.SETTLED, "mastercard", "4444") == (paid.state, paid.brand, paid.last4)
    assert paid.receipt is not None
    assert 1 == charges(shop, 2001)
    for name in ("broker", "spawner", "media"):
        assert 0 == search(shop.zone.running[name].pid, MASTERCARD[4:].encode()).hits, name
    for name in ("spawner", "media"):
        assert 0 == search(shop.zone.running[name].pid, shop.account.keys["cell"].encode()).hits, name


async def test_a_wrong_cvv_is_keyed_again_in_the_same_cell(shop: Shop, desk: Desk) -> None:
    """Stripe's decline names the field; the next token comes from the kept PAN and the new CVV."""
    declined = await desk.charged(pan=WRONG_CVV, tenant="shop", amount_minor=2002)
    assert declined.decline is not None
    assert (PaymentState.DECLINED, NextStep.REKEY_CVV) == (declined.state, declined.decline.next_step)
    cells = shop.zone.cells()
    await desk.door.open_capture(declined.payment_id)
    await desk.press(CVV)
    again = await desk.state(PaymentState.READY)
    assert (cells, "0127") == (shop.zone.cells(), again.last4)
    assert 0 == charges(shop, 2002)


async def test_a_lost_answer_is_found_and_charged_once(shop: Shop, desk: Desk) -> None:
    """Executed, answered with a 500 that Stripe repeats for ever: unknown, then the truth."""
    ready = await desk.ready(pan=MASTERCARD, tenant="shop", amount_minor=2003)
    shop.account.order("false_500", path_end="/confirm")
    await desk.door.charge(ready.payment_id)
    await desk.why(Why.UNKNOWN)
    paid = await desk.result(RESOLVED_S)
    assert (PaymentState.SETTLED, 1) == (paid.state, charges(shop, 2003))


async def test_a_token_that_failed_is_tried_again_with_the_cvv(shop: Shop, desk: Desk) -> None:
    """The cell's connection breaks off twice; the cell lives on, and the caller keys three digits again."""
    for _ in range(2):
        shop.account.order("request_lost", path_end="/payment_methods")
    created = await desk.created(tenant="shop", amount_minor=2004)
    await desk.door.open_capture(created.payment_id)
    await desk.press(f"{MASTERCARD}1231{CVV}")
    told = await desk.until(lambda one: one.why not in KEYING)
    assert (Field.CVV, FieldProblem.REFUSED_BY_PROVIDER) == (told.field, told.problem)
    await desk.press(CVV)
    assert "4444" == (await desk.state(PaymentState.READY)).last4
    assert 0 == charges(shop, 2004)


async def test_a_tenant_without_its_key_is_refused_and_all_others_go_on(shop: Shop, desk: Desk) -> None:
    """The node starts; the refusal has a code of its own and is on record; a key helps without a restart."""
    created = await desk.created(tenant="keyless", amount_minor=2090)
    with pytest.raises(Refused) as refused:
        await desk.door.open_capture(created.payment_id)
    assert "provider_unusable" == refused.value.code
    with closing(sqlite3.connect(shop.zone.data_dir / "vault.db")) as database:
        bodies = [json.loads(body) for (body,) in database.execute("SELECT body FROM outbox")]
    told = [one["data"] for one in bodies if one["name"] == "provider.tenant.refused"]
    assert [{"provider": "stripe", "reason": "key_missing"}] == told
    for role in ("broker", "cell"):
        name = f"stripe.keyless.{role}"
        _put(shop.zone.data_dir / "keys", name + ".next", shop.account.keys[role])
        await desk.door.rotate_key(name, "user:operator")
    paid = await desk.charged(pan=MASTERCARD, tenant="keyless", amount_minor=2091)
    assert (PaymentState.SETTLED, 1) == (paid.state, charges(shop, 2091))
