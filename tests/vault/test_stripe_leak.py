"""What goes wrong between a cell and Stripe, over real TLS, leaves no digit behind in memory or on a disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.memory import search
from tests.support.stripe_process import Account, stripe_account
from tests.support.zone import CVV, EXPIRY, ZoneProcesses, desk_at
from vault import PaymentState

MASTERCARD, DECLINED = "5555555555554444", "4000000000009995"
PROCESSES = ("broker", "spawner", "media")
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


@dataclass
class Shop:
    zone: ZoneProcesses
    account: Account

    def traces(self, pan: str) -> list[str]:
        """Where the keyed digits of a card, from the fifth on, are found, outside the cell."""
        digits = pan[4:].encode()
        memory = [name for name in PROCESSES if search(self.zone.running[name].pid, digits).hits]
        files = [one for one in self.zone.data_dir.rglob("*") if one.is_file() and digits in one.read_bytes()]
        logs = ["log"] if digits in self.zone.broker_log().encode() else []
        return [*memory, *map(str, files), *logs]


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    root = Path(tempfile.mkdtemp(prefix="payivr-"))
    root.chmod(0o755)
    with stripe_account(root) as account:
        zone = ZoneProcesses(root, log_level="info")
        text = TENANT.format(url=account.url, ca_file=account.ca_file)
        (zone.tenants_dir / "shop.toml").write_text(text)
        keys = zone.data_dir / "keys"
        keys.mkdir(mode=0o700)
        for role in ("broker", "cell"):
            descriptor = os.open(keys / f"stripe.shop.{role}", os.O_CREAT | os.O_WRONLY, 0o600)
            os.write(descriptor, account.keys[role].encode())
            os.close(descriptor)
        try:
            zone.start()
            zone.wait_until_probed()
            yield Shop(zone, account)
        finally:
            zone.stop()
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.root
async def test_a_decline_leaves_no_digit(shop: Shop) -> None:
    """While the cell keeps the card for a retry, nobody else has any of it."""
    async with desk_at(shop.zone, "declined") as desk:
        declined = await desk.charged(pan=DECLINED, tenant="shop")
        assert PaymentState.DECLINED is declined.state
        assert [] == shop.traces(DECLINED)


@pytest.mark.root
async def test_a_hang_up_in_the_middle_of_a_field_leaves_no_digit(shop: Shop) -> None:
    """The cell is gone with the call, and with it what was keyed."""
    async with desk_at(shop.zone, "hungup") as desk:
        payment = await desk.created(tenant="shop")
        await desk.door.open_capture(payment.payment_id)
        await desk.press(MASTERCARD[:15])
        await desk.door.end_call(desk.call_id)
        await desk.eventually(lambda: not shop.zone.cells())
        assert [] == shop.traces(MASTERCARD[:15])


@pytest.mark.root
async def test_a_killed_broker_leaves_no_digit(shop: Shop) -> None:
    """Kill -9 with a complete card in the cell; nothing of it on the disk, nor in the broker that follows."""
    async with desk_at(shop.zone, "killed") as desk:
        payment = await desk.created(tenant="shop")
        await desk.door.open_capture(payment.payment_id)
        await desk.press(f"{MASTERCARD}#{EXPIRY}{CVV[:1]}")
        shop.zone.kill("broker")
        await desk.eventually(lambda: not shop.zone.cells())
        shop.zone.start("broker")
        assert [] == shop.traces(MASTERCARD)
