"""Keys and limits in a whole zone: nothing leaks, calls go on while keys change, attackers learn nothing."""

import os
import pwd
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from pay_ivr.__main__ import main
from tests.support.memory import search
from tests.support.zone import TENANT, VISA, Desk, ZoneProcesses, desk_at
from vault import DeclineReason, NextStep, PaymentState, VaultError, Why
from vault.keys import HMAC_NAME, KeyFiles, Keys, Purpose
from vault.tempo import SHORTEST_S

BY = "user:operator"
DECLINED, LOST = "4000000000000002", "4000000000009987"
LIMITS = """
[payment.limits]
card_attempts_per_day = 2
caller_cards_per_day = 2
"""
_numbers = count(1)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    root = Path(tempfile.mkdtemp(prefix="payivr-"))
    zone = ZoneProcesses(root, log_level="debug")
    text = TENANT.format(provider="sandbox", live="false", canary="false")
    (zone.tenants_dir / "limited.toml").write_text(text + LIMITS)
    try:
        zone.start()
        zone.wait_until_probed()
        yield zone
    finally:
        zone.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[Desk]:
    async with desk_at(zone, f"k{next(_numbers)}") as desk:
        yield desk


def rows(zone: ZoneProcesses, wanted: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{zone.data_dir / 'vault.db'}?mode=ro", uri=True)) as database:
        return database.execute(wanted).fetchall()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def reasons(zone: ZoneProcesses, payment_id: str) -> list[str]:
    """Why attempts of a payment were not sent, as the log has it."""
    entries = zone.waiting_entries("payment.attempt.limited")
    return [entry["data"]["reason"] for entry in entries if entry["subject"] == payment_id]


async def test_a_card_above_its_limit_looks_like_any_declined_card(zone, desk):
    """The third charge is not sent; desk and caller are told nothing that a plain decline would not tell."""
    tenant = {"tenant": "limited", "caller_number": "+4930100"}
    for _ in range(2):
        assert PaymentState.SETTLED is (await desk.charged(**tenant)).state
    plain = await desk.charged(DECLINED, **{**tenant, "caller_number": "+4930101"})
    ready = await desk.ready(**tenant)
    begun = time.monotonic()
    await desk.door.charge(ready.payment_id)
    limited = await desk.result()
    assert SHORTEST_S <= time.monotonic() - begun
    assert (PaymentState.DECLINED, plain.decline) == (limited.state, limited.decline)
    assert (DeclineReason.GENERIC, NextStep.OTHER_CARD) == (limited.decline.reason, limited.decline.next_step)
    assert (["card_attempts"], 0) == (
        reasons(zone, limited.payment_id),
        zone.times_charged(limited.payment_id),
    )
    assert [] == reasons(zone, plain.payment_id)


async def test_a_caller_with_too_many_cards_is_stopped(zone, desk):
    """Counted by the telephone's keyed hash; another telephone is not stopped."""
    for pan in (DECLINED, "4000000000009995"):
        await desk.charged(pan, tenant="limited", caller_number="+4930200")
    third = await desk.charged("5555555555554444", tenant="limited", caller_number="+4930200")
    other = await desk.charged("5555555555554444", tenant="limited", caller_number="+4930201")
    assert (PaymentState.DECLINED, PaymentState.SETTLED) == (third.state, other.state)
    assert ["caller_cards"] == reasons(zone, third.payment_id)


async def test_a_cell_that_is_lost_gets_its_keys_again(zone, desk):
    """The fingerprint of the card keyed into the second cell is there."""
    payment = await desk.created(tenant="limited")
    await desk.door.open_capture(payment.payment_id)
    (pid,) = zone.cells()
    os.kill(pid, 9)
    await desk.why(Why.CAPTURE_RESTARTED)
    await desk.press(f"{VISA}#1231123")
    await desk.state(PaymentState.READY)
    marks = rows(zone, "SELECT payment_id, kind FROM payment_marks")
    assert {"card", "bin"} == {kind for payment_id, kind in marks if payment_id == payment.payment_id}


async def test_keys_change_while_captures_run(zone, desk):
    """A capture begun under the old version ends under it, its card is known under the new one."""
    async with desk_at(zone, f"k{next(_numbers)}") as second:
        payment = await desk.created(tenant="limited")
        await desk.door.open_capture(payment.payment_id)
        await desk.press(VISA[:8])
        version = await desk.door.rotate_key(HMAC_NAME, BY)
        await desk.press(f"{VISA[8:]}#1231123")
        await desk.state(PaymentState.READY)
        await second.ready(tenant="limited")
        with pytest.raises(VaultError) as refused:
            await desk.door.retire_key(HMAC_NAME, version - 1, BY)
    assert "key_in_use" == refused.value.code
    marks = rows(
        zone, "SELECT key_version, count(*) FROM payment_marks WHERE kind = 'card' GROUP BY key_version"
    )
    assert {version - 1, version} == {found for found, _ in marks}
    lines = await desk.door.vault_keys()
    assert [False, True] == [line.newest for line in lines if line.name == HMAC_NAME][-2:]


async def test_no_key_byte_leaves_the_keys_folder(zone, desk):
    """Not in a database, a log, an environment, or the memory of the process that forks the cells."""
    await desk.ready(tenant="limited", caller_number="+4930300")
    keys = [path.read_bytes() for path in (zone.data_dir / "keys").glob(f"{HMAC_NAME}.*")]
    told = [path.read_bytes() for path in zone.data_dir.glob("*.db*")] + [zone.log_path.read_bytes()]
    environment = environment_of(zone.running["broker"].pid)
    for key in keys:
        for form in (key, key.hex().encode()):
            assert form not in b"".join([*told, environment])
        assert 0 == search(zone.running["spawner"].pid, key).hits
    assert b"+4930300"[1:] not in b"".join(told)


def test_no_fingerprint_key_passes_the_spawner(zone):
    """Every cell inherits the spawner's memory: what a cell must not know must not be there."""
    keys = Keys(KeyFiles(zone.data_dir / "keys"))
    for purpose in Purpose:
        for _version, key in keys.derived(purpose, "limited"):
            assert 0 == search(zone.running["spawner"].pid, key.reveal()).hits


def test_an_operator_changes_keys_by_command(zone, monkeypatch, capsys):
    """List, rotate and a refused retirement; a refusal is one line and exit code 1, and names no secret."""
    for name, folder in (("DATA", zone.data_dir), ("RUN", zone.run_dir), ("TENANTS", zone.tenants_dir)):
        monkeypatch.setenv(f"PAY_IVR_{name}_DIR", str(folder))
    assert 0 == main(["vault-key", "rotate", HMAC_NAME])
    newest = re.search(r"version (\d+) is the newest", capsys.readouterr().out)
    assert newest is not None
    assert 0 == main(["vault-key", "list"])
    assert re.search(
        rf"^{HMAC_NAME} +{newest[1]} newest .{{24}} [a-p]{{8}}$", capsys.readouterr().out, re.MULTILINE
    )
    assert 1 == main(["vault-key", "retire", HMAC_NAME, newest[1]])
    assert 1 == main(["vault-key", "rotate", "stripe.webhook"])
    assert 2 == len(capsys.readouterr().err.splitlines())
    assert [f"user:{pwd.getpwuid(os.getuid()).pw_name}"] * 2 == [
        entry["actor"] for entry in zone.waiting_entries("key.vault.refused")[-2:]
    ]


def test_log_entries_name_keys_and_no_more(zone):
    """Who changed which version: letters and counts, nothing that could be a key."""
    entries = [entry for entry in zone.waiting_entries() if entry["name"].startswith("key.vault")]
    assert {"key.vault.made", "key.vault.rotated", "key.vault.refused"} == {
        entry["name"] for entry in entries
    }
    assert not re.search(r"[0-9a-f]{16}", str([entry["data"] for entry in entries]))
