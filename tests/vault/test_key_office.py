"""Keys are changed on record, without a byte of them anywhere, and never lost while something needs them."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault.door import Refused, VaultError
from vault.fingerprint import VERSIONS_MAX
from vault.key_office import KeyOffice
from vault.keys import HMAC_NAME, KeyFault, KeyFiles, Keys, Purpose
from vault.store import Store

BY = "user:operator"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Any]:
    store = await Store.open(tmp_path / "vault.db")
    keys, used = Keys(KeyFiles(tmp_path / "keys")), {}

    async def in_use() -> dict[int, int]:
        return used

    office = KeyOffice(keys, store, in_use)
    await office.start()
    yield SimpleNamespace(office=office, keys=keys, store=store, used=used, folder=tmp_path, in_use=in_use)
    await store.close()


def put(house: Any, name: str, octets: bytes = b"whsec_secret_of_a_test") -> None:
    path = house.folder / "keys" / name
    path.write_bytes(octets)
    path.chmod(0o600)


def entries(house: Any) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(house.folder / "vault.db")) as database:
        told = [json.loads(body) for (body,) in database.execute("SELECT body FROM outbox ORDER BY seq")]
    return [(entry["name"], entry["subject"], str(*entry["data"].values())) for entry in told]


async def refusal(act: Any) -> str:
    with pytest.raises(VaultError) as refused:
        await act
    return refused.value.code


async def test_the_first_key_is_on_record(house):
    """Made by the broker, once."""
    await KeyOffice(house.keys, house.store, house.in_use).start()
    assert [("key.vault.made", HMAC_NAME, "1")] == entries(house)


async def test_rotation_adds_a_version_and_keeps_the_old_one(house):
    """The newest comes first in what is derived, and the list says which it is."""
    assert 2 == await house.office.rotate(HMAC_NAME, BY)
    assert [2, 1] == [version for version, _ in house.keys.derived(Purpose.CALLER, "demo")]
    lines = await house.office.list()
    assert [(1, False), (2, True)] == [(line.version, line.newest) for line in lines]
    assert all(line.since and len(line.check) == 8 for line in lines)
    assert ("key.vault.rotated", HMAC_NAME, "2") == entries(house)[-1]


async def test_a_providers_secret_is_rotated_by_the_file_that_lies_beside_it(house):
    """Both versions of a webhook's secret are valid until the old one is retired."""
    put(house, "stripe.webhook.next", b"whsec_one\n")
    assert 1 == await house.office.rotate("stripe.webhook", BY)
    put(house, "stripe.webhook.next", b"whsec_two\n")
    assert 2 == await house.office.rotate("stripe.webhook", BY)
    assert [b"whsec_two", b"whsec_one"] == [
        secret.reveal() for secret in house.keys.secrets("stripe", "demo", "webhook")
    ]
    assert 1 == await house.office.retire("stripe.webhook", 1, BY)
    assert b"whsec_two" == house.keys.secret("stripe", "demo", "webhook").reveal()
    assert not (house.folder / "keys" / "stripe.webhook.1").exists()
    assert ("key.vault.retired", "stripe.webhook", "1") == entries(house)[-1]


async def test_a_provider_is_made_anew_with_its_new_secret(house):
    """Its user is told by name, after the secret is there; the vault's own key concerns no provider."""
    told: list[tuple[str, bytes]] = []

    async def renew(provider: str) -> None:
        told.append((provider, house.keys.secret(provider, "demo", "broker").reveal()))

    office = KeyOffice(house.keys, house.store, house.in_use, renew)
    put(house, "stripe.demo.broker.next", b"rk_new")
    await office.rotate("stripe.demo.broker", BY)
    await office.rotate(HMAC_NAME, BY)
    assert [("stripe", b"rk_new")] == told


async def test_a_version_in_use_is_not_retired(house):
    """Old hashes would be recognised no more."""
    await house.office.rotate(HMAC_NAME, BY)
    house.used[1] = 3
    assert "key_in_use" == await refusal(house.office.retire(HMAC_NAME, 1, BY))
    assert [0, 3] == sorted(line.uses for line in await house.office.list())
    house.used.clear()
    assert 1 == await house.office.retire(HMAC_NAME, 1, BY)
    assert {HMAC_NAME: (2,)} == house.keys.versions()


async def test_what_cannot_be_done_is_refused_and_on_record(house):
    """The newest, an unknown one, one without a successor's file, one too many; never an unknown name."""
    assert "key_newest" == await refusal(house.office.retire(HMAC_NAME, 1, BY))
    assert "key_unknown" == await refusal(house.office.retire("../../etc/passwd", 1, BY))
    assert "key_missing" == await refusal(house.office.rotate("stripe.webhook", BY))
    assert "key_name" == await refusal(house.office.rotate("../../etc/passwd", BY))
    for _ in range(VERSIONS_MAX - 1):
        await house.office.rotate(HMAC_NAME, BY)
    assert "key_versions_used" == await refusal(house.office.rotate(HMAC_NAME, BY))
    told = [(subject, reason) for name, subject, reason in entries(house) if name == "key.vault.refused"]
    assert [
        (HMAC_NAME, "key_newest"),
        ("unknown", "key_unknown"),
        ("unknown", "key_missing"),
        ("unknown", "key_name"),
        (HMAC_NAME, "key_versions_used"),
    ] == told


async def test_an_unsafe_file_stops_a_rotation_before_it_begins(house):
    """Nothing is half done: the keys in memory and in the folder stay as they were."""
    put(house, "stripe.webhook")
    (house.folder / "keys" / "stripe.webhook").chmod(0o644)
    with pytest.raises(KeyFault):
        await house.office.rotate(HMAC_NAME, BY)
    assert {HMAC_NAME: (1,)} == house.keys.versions()
    assert not (house.folder / "keys" / f"{HMAC_NAME}.2").exists()


async def test_what_changed_by_hand_is_on_record_at_the_next_start(house):
    """Found, lost, and found again; each once."""
    put(house, "stripe.broker")
    for _ in range(2):
        await KeyOffice(Keys(KeyFiles(house.folder / "keys")), house.store, house.in_use).start()
    (house.folder / "keys" / "stripe.broker").unlink()
    for _ in range(2):
        await KeyOffice(Keys(KeyFiles(house.folder / "keys")), house.store, house.in_use).start()
    put(house, "stripe.broker")
    await KeyOffice(Keys(KeyFiles(house.folder / "keys")), house.store, house.in_use).start()
    found = ("key.vault.found", "stripe.broker", "0")
    assert [found, ("key.vault.lost", "stripe.broker", "0"), found] == entries(house)[1:]


async def test_no_byte_of_a_key_is_in_the_database_or_in_a_line(house):
    """Neither as it is, nor as hexadecimal text."""
    put(house, "stripe.webhook.next")
    await house.office.rotate("stripe.webhook", BY)
    await house.office.rotate(HMAC_NAME, BY)
    everything = b"".join(path.read_bytes() for path in house.folder.glob("vault.db*"))
    everything += repr((await house.office.list(), house.keys, vars(house.keys))).encode()
    for path in (house.folder / "keys").iterdir():
        octets = path.read_bytes()
        for form in (octets, octets.hex().encode(), repr(octets).encode()[2:-1]):
            assert form not in everything


async def test_refusals_are_the_doors_own(house):
    """So that they cross it with code and sentence."""
    with pytest.raises(Refused) as refused:
        await house.office.retire(HMAC_NAME, 7, BY)
    assert refused.value.sentence
