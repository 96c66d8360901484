"""PIN entries through the door of a real zone: keyed, sealed, refused, locked, and lost half-way."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from tests.support.cell import keys_of
from tests.support.media import Phone, press
from tests.support.memory import search
from tests.support.pins import AGENT, PinDesk, new_pin, pin_desk_at
from tests.support.tones import Manner, frames, keyed
from tests.support.zone import ZoneProcesses, new_payment, running_zone
from vault import PinField, PinProblem, PinPurpose, PinResult, PinStanding, PinWhy, Refused, VaultError

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneProcesses]:
    """One zone for all tests of this file; what a test has killed is started again for the next."""
    with running_zone() as found:
        yield found


@pytest.fixture
async def desk(zone: ZoneProcesses) -> AsyncIterator[PinDesk]:
    zone.heal()
    async with pin_desk_at(zone) as found:
        yield found


@pytest.fixture
def member() -> str:
    """A member whom no other test uses."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    number = next(NUMBERS)
    return f"mem_{letters[number // 26]}{letters[number % 26]}"


async def test_a_pin_is_set_verified_changed_and_reset(desk: PinDesk, member: str) -> None:
    """The whole life, keyed: each result is what the caller is told."""
    keyed = lambda keys, purpose, **more: desk.keyed(keys, purpose, member, **more)  # noqa: E731
    assert PinResult.OK is await keyed("4711#4711", PinPurpose.SET, by=AGENT)
    assert PinResult.OK is await keyed("4711#", PinPurpose.VERIFY)
    assert PinResult.OK is await keyed("4711#836142836142", PinPurpose.CHANGE)
    assert PinResult.WRONG is await keyed("4711#", PinPurpose.VERIFY)
    code = await desk.door.issue_reset_code("demo", member, AGENT)
    assert PinResult.OK is await keyed(f"{code}2704#2704", PinPurpose.RESET)
    assert PinResult.OK is await keyed("2704#", PinPurpose.VERIFY)
    assert PinStanding(set=True, locked=False, misses=0) == await desk.door.pin_standing("demo", member)
    names = [entry["name"] for entry in desk.zone.waiting_entries() if entry["subject"] == member]
    told = [name.rpartition(".")[2] for name in names if name.startswith("pin.")]
    opened = ["opened", "set", "opened", "accepted", "opened", "changed", "opened", "refused", "issued"]
    assert [*opened, "opened", "reset", "opened", "accepted"] == told


async def test_the_steps_of_an_entry_are_told_with_counts_only(desk: PinDesk, member: str) -> None:
    """Opened, keys, a clear, a problem with the field to key again, and the result; SECURE all the while."""
    entry = await desk.door.open_pin(new_pin(PinPurpose.SET, member, by=AGENT, born="1980-03-05"))
    assert (True, None) == (entry.secure, entry.result)
    assert "SECURE" == desk.zone.mode_of()
    await desk.why(PinWhy.FIELD_OPENED)
    await desk.zone.press("4*0503#")
    problem = await desk.why(PinWhy.PROBLEM)
    assert (PinField.NEW, PinProblem.EASY, 0) == (problem.field, problem.problem, problem.entry.digits)
    await asyncio.sleep(0.8)  # what follows a refused field at once is its tail
    await desk.zone.press("4711#4712")
    problem = await desk.why(PinWhy.PROBLEM)
    assert (PinField.NEW, PinProblem.MISMATCH) == (problem.entry.field, problem.problem)
    await asyncio.sleep(0.8)
    await desk.zone.press("4711#4711")
    assert PinResult.OK is await desk.result()
    keys = [one.entry.digits for one in desk.all_told if one.why is PinWhy.KEY]
    assert [1, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4] == keys
    assert sorted({one.seq for one in desk.all_told}) == [one.seq for one in desk.all_told]


async def test_three_misses_lock_whoever_it_is(desk: PinDesk, member: str) -> None:
    """A member with a PIN, one without and nobody at all: the same answers, and only help from outside."""
    await desk.member_with("4711", member)
    for who in (member, f"{member}x", f"{member}y"):
        results = [await desk.sealed("9182", member=who) for _ in range(4)]
        assert [PinResult.WRONG, PinResult.WRONG, PinResult.LOCKED, PinResult.LOCKED] == results
    assert PinResult.LOCKED is await desk.sealed("4711", member=member)
    assert PinStanding(set=True, locked=True, misses=3) == await desk.door.pin_standing("demo", member)
    assert not (await desk.door.unlock_pin("demo", member, AGENT)).locked
    assert PinResult.OK is await desk.sealed("4711", member=member)


async def test_a_reset_code_opens_a_locked_pin_once(desk: PinDesk, member: str) -> None:
    """A wrong code costs one of its tries; the right one is used up by its use; a newer one replaces it."""
    await desk.member_with("4711", member)
    for _ in range(3):
        await desk.sealed("4712", member=member)
    older = await desk.door.issue_reset_code("demo", member, AGENT)
    code = await desk.door.issue_reset_code("demo", member, AGENT)
    reset = {"purpose": PinPurpose.RESET, "member": member}
    assert PinResult.WRONG is await desk.sealed(older, "8361", "8361", **reset)
    assert PinResult.OK is await desk.sealed(code, "8361", "8361", **reset)
    assert PinResult.WRONG is await desk.sealed(code, "8362", "8362", **reset)
    assert PinResult.OK is await desk.sealed("8361", member=member)


async def test_a_code_has_three_tries(desk: PinDesk, member: str) -> None:
    """The right code comes too late after three wrong ones."""
    await desk.member_with("4711", member)
    code = await desk.door.issue_reset_code("demo", member, AGENT)
    wrong = "00000000" if code != "00000000" else "11111111"
    reset = {"purpose": PinPurpose.RESET, "member": member}
    for _ in range(3):
        assert PinResult.WRONG is await desk.sealed(wrong, "8361", "8361", **reset)
    assert PinResult.WRONG is await desk.sealed(code, "8361", "8361", **reset)


async def test_a_limit_answers_as_a_wrong_pin_does(desk: PinDesk, member: str) -> None:
    """Ten misses from one number, spread over members: the right PIN is then WRONG, and the log knows why."""
    await desk.member_with("4711", member)
    number = f"+49{member}"
    for place in range(10):
        who = f"{member}{'abcdefghij'[place]}"
        assert PinResult.WRONG is await desk.sealed(f"47{place}2", member=who, caller_number=number)
    assert PinResult.WRONG is await desk.sealed("4711", member=member, caller_number=number)
    assert PinResult.OK is await desk.sealed("4711", member=member, caller_number="+49123")
    limited = desk.zone.waiting_entries("pin.entry.limited")[-1]
    assert (member, "caller_hour") == (limited["subject"], limited["data"]["reason"])
    assert PinStanding(set=True, locked=False, misses=0) == await desk.door.pin_standing("demo", member)


@pytest.mark.parametrize(
    ("purpose", "changes", "code"),
    [
        (PinPurpose.SET, {}, "pin_needs_agent"),
        (PinPurpose.SET, {"by": AGENT}, "pin_is_set"),
        (PinPurpose.VERIFY, {"tenant": "nobody"}, "tenant_unknown"),
        (PinPurpose.VERIFY, {"leg_id": ""}, "bad_request"),
        (PinPurpose.VERIFY, {"member_id": "12345678"}, "bad_request"),
        (PinPurpose.VERIFY, {"born": "yesterday"}, "bad_request"),
        (PinPurpose.VERIFY, {"by": "Anna"}, "bad_request"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_happens(
    desk: PinDesk, member: str, purpose: PinPurpose, changes: dict[str, str], code: str
) -> None:
    """With a code, and without a cell."""
    await desk.member_with("4711", member)
    with pytest.raises(Refused) as refused:
        await desk.door.open_pin(new_pin(purpose, **{"member": member, **changes}))
    assert code == refused.value.code
    assert [] == desk.zone.cells()


async def test_one_capture_on_a_leg(desk: PinDesk, member: str) -> None:
    """A payment and a PIN never meet on one leg, whoever comes first, and not on one call either."""
    payment = await desk.door.create_payment(new_payment())
    entry = await desk.opened(member=member)
    for attempt in (
        lambda: desk.door.open_capture(payment.payment_id),
        lambda: desk.door.open_pin(new_pin(member=member)),
        lambda: desk.door.open_pin(new_pin(member=member, leg_id="leg_other")),
    ):
        with pytest.raises(Refused) as refused:
            await attempt()  # type: ignore[no-untyped-call]
        assert "capture_open" == refused.value.code
    assert PinResult.CANCELLED is (await desk.door.cancel_pin(entry.entry_id, AGENT)).result
    await desk.door.open_capture(payment.payment_id)
    with pytest.raises(Refused):
        await desk.door.open_pin(new_pin(member=member))
    await desk.door.cancel(payment.payment_id, "system")


@pytest.mark.parametrize("how", ["cancel", "end_call", "leg"])
async def test_an_entry_that_is_given_up_is_cancelled(desk: PinDesk, member: str, how: str) -> None:
    """By the flow, with the call, or with the leg; no cell lives on and the leg is let go."""
    entry = await desk.opened(member=member)
    await desk.zone.press("47")
    if how == "cancel":
        await desk.door.cancel_pin(entry.entry_id, "system:app")
    elif how == "end_call":
        await desk.door.end_call("call_one")
    else:
        desk.zone.media("close_leg", leg_id="leg_one")
    assert PinResult.CANCELLED is await desk.result()
    assert PinResult.CANCELLED is (await desk.door.pin_entry(entry.entry_id)).result
    await no_cell_left(desk.zone)
    if how != "leg":
        await normal_again(desk.zone)


@pytest.mark.parametrize("killed", ["cell", "spawner", "media", "broker"])
async def test_a_lost_process_ends_a_change_with_nothing_stored(
    desk: PinDesk, member: str, killed: str
) -> None:
    """EXPIRED, the leg SECURE until it is let go, the old PIN good and the new one not; then all is well."""
    zone = desk.zone
    await desk.member_with("4711", member)
    await desk.opened(PinPurpose.CHANGE, member)
    await zone.press("4711#8361#83")
    await desk.until(lambda told: told.entry.field is PinField.AGAIN and told.entry.digits == 2)
    if killed == "cell":
        for pid in zone.cells():
            os.kill(pid, signal.SIGKILL)
    else:
        zone.kill(killed)
    if killed == "broker":
        assert "SECURE" == zone.mode_of()
    zone.heal()
    assert PinResult.EXPIRED is await desk.result()
    if killed == "media":
        zone.open_leg(resume=True)
        assert "SECURE" == zone.mode_of()
    await normal_again(zone)
    await no_cell_left(zone)
    assert PinResult.OK is await eventually(desk, "4711", member)
    assert PinResult.WRONG is await desk.sealed("8361", member=member)


async def eventually(desk: PinDesk, pin: str, member: str) -> object:
    """The result, once the broker has its lines again."""
    for _ in range(200):
        try:
            return await desk.sealed(pin, member=member)
        except VaultError:
            await asyncio.sleep(0.1)
    raise AssertionError(desk.zone.broker_log())


async def no_cell_left(zone: ZoneProcesses) -> None:
    for _ in range(1_000):
        if not zone.cells():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("a cell lives on")


async def normal_again(zone: ZoneProcesses) -> None:
    """Media holds SECURE for a second after the pipe's end; the sweep comes every two."""
    for _ in range(1_000):
        if zone.mode_of() == "NORMAL":
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the leg stays SECURE")


def rtp_leg(zone: ZoneProcesses, leg_id: str, role: str, phone: Phone) -> None:
    """A leg with a phone at its other end."""
    phone.target = ("127.0.0.1", zone.media("open_leg", leg_id=leg_id, role=role)["port"])
    remote = {**vars(phone.remote()), "source_ip": None}
    assert zone.media("set_remote", leg_id=leg_id, **remote)["ok"] is True


@pytest.mark.parametrize("how", ["telephone_event", "in_band"])
async def test_a_pin_keyed_over_rtp_is_right_and_unheard(desk: PinDesk, member: str, how: str) -> None:
    """Through real media: the cell gets every key, the agent not one packet of the caller's."""
    await desk.member_with("470815", member)
    caller, agent = Phone(), Phone()
    rtp_leg(desk.zone, "leg_caller", "caller", caller)
    rtp_leg(desk.zone, "leg_agent", "agent", agent)
    desk.zone.media("bridge", caller="leg_caller", agent="leg_agent")
    for phone in (caller, agent):
        await phone.talk(0.1)
    try:
        await desk.opened(member=member, leg_id="leg_caller")
        caller.forget()
        agent.forget()
        keys = keys_of("470815")
        if how == "telephone_event":
            for key in keys:
                await caller.stream([*press(caller, key), None, None, None, None])
        else:
            sound = keyed(keys, Manner(on_ms=80.0, off_ms=80.0), np.random.default_rng(7)).sound
            await caller.stream(frames(sound, alaw=False))
        assert PinResult.OK is await desk.result()
        assert agent.got
        assert not caller.sent & set(agent.payloads())
    finally:
        for phone in (caller, agent):
            phone.close()
        for leg_id in ("leg_caller", "leg_agent"):
            desk.zone.media("close_leg", leg_id=leg_id)


async def test_a_challenge_is_good_once_and_for_its_tenant(desk: PinDesk, member: str) -> None:
    """A replayed blob, a foreign tenant's, one for another key and one that is none."""
    await desk.member_with("4711", member)
    new = new_pin(member=member, call_id="", leg_id="")
    seal = await desk.door.pin_seal("demo")
    blob = desk.blob(seal, "4711")
    assert PinResult.OK is await desk.door.check_sealed_pin(new, seal.key_id, seal.challenge, blob)
    foreign = await desk.door.pin_seal("direct")
    other = await desk.door.pin_seal("demo")
    wrong_key = await desk.door.pin_seal("demo")
    tries = [
        (seal.key_id, seal.challenge, blob, "pin_challenge"),
        (foreign.key_id, foreign.challenge, desk.blob(foreign, "4711"), "pin_challenge"),
        (other.key_id, other.challenge, blob, "pin_seal_broken"),
        ("pin-seal.7", wrong_key.challenge, desk.blob(wrong_key, "4711"), "pin_seal_broken"),
        (seal.key_id, "AAAA", blob, "pin_seal_broken"),
    ]
    for key_id, challenge, sealed, code in tries:
        with pytest.raises(Refused) as refused:
            await desk.door.check_sealed_pin(new, key_id, challenge, sealed)
        assert code == refused.value.code


async def test_a_birth_date_is_not_found_by_trying_resets(desk: PinDesk, member: str) -> None:
    """With a wrong code it is wrong like any PIN, and a miss; with the right one it is too easy."""
    code = await desk.door.issue_reset_code("demo", member, AGENT)
    reset = {"purpose": PinPurpose.RESET, "member": member, "born": "1990-05-03"}
    wrong = f"{(int(code) + 1) % 10**8:08}"
    assert PinResult.WRONG is await desk.sealed(wrong, "0305", "0305", **reset)
    assert PinProblem.EASY is await desk.sealed(wrong, "1234", "1234", **reset)
    assert PinProblem.EASY is await desk.sealed(code, "0305", "0305", **reset)
    assert PinResult.OK is await desk.sealed(code, "8361", "8361", **reset)


async def test_keys_change_while_pins_go_on(desk: PinDesk, member: str) -> None:
    """Under a new pepper the old hash still verifies, and is stored anew by its next success."""
    await desk.member_with("4711", member)
    seal = await desk.door.pin_seal("demo")
    version = await desk.door.rotate_key("vault-hmac", "user:ops")
    await desk.door.rotate_key("pin-seal", "user:ops")
    new = new_pin(member=member, call_id="", leg_id="")
    blob = desk.blob(seal, "4711")
    assert PinResult.OK is await desk.door.check_sealed_pin(new, seal.key_id, seal.challenge, blob)
    assert (await desk.door.pin_seal("demo")).key_id != seal.key_id
    rows = desk.zone._query("vault.db", "SELECT key_version FROM pins WHERE member_id = ?", member)
    assert [(version,)] == rows
    assert PinResult.OK is await desk.sealed("4711", member=member)
    assert PinResult.WRONG is await desk.sealed("4712", member=member)


async def test_forget_leaves_no_row(desk: PinDesk, member: str) -> None:
    """Neither hash nor misses nor code; twice is once."""
    await desk.member_with("4711", member)
    await desk.door.issue_reset_code("demo", member, AGENT)
    for _ in range(2):
        await desk.door.forget_pin("demo", member)
    for rows in ("SELECT 1 FROM pins WHERE member_id = ?", "SELECT 1 FROM pin_codes WHERE member_id = ?"):
        assert [] == desk.zone._query("vault.db", rows, member)
    assert PinStanding(set=False, locked=False, misses=0) == await desk.door.pin_standing("demo", member)


@pytest.mark.root
async def test_no_process_remembers_a_pin(desk: PinDesk, member: str) -> None:
    """After nine keyed digits no long-lived process holds them, nor the database; keys are single there."""
    desk.zone.write_tenant("longpins")
    path = desk.zone.tenants_dir / "longpins.toml"
    path.write_text(path.read_text() + "[pin]\ndigits_max = 12\n")
    desk.zone.kill("broker")
    desk.zone.heal()
    pin = "749203618"
    kind = {"tenant": "longpins", "by": AGENT}
    assert PinResult.OK is await desk.keyed(f"{pin}#{pin}", PinPurpose.SET, member, **kind)
    assert PinResult.OK is await desk.keyed(f"{pin}#", PinPurpose.VERIFY, member, tenant="longpins")
    keys = bytes(int(digit) for digit in pin)
    for name in ("broker", "media", "spawner"):
        process = desk.zone.running[name].pid
        assert (0, 0) == (search(process, pin.encode()).hits, search(process, keys).hits), name
    held = b"".join(path.read_bytes() for path in desk.zone.data_dir.glob("vault.db*"))
    assert pin.encode() not in held
