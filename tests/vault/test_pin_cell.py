"""Real PIN cells, forked by a real spawner: keys or a sealed PIN in, hashes out, and nothing else."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.support.cell import SpawnerEnds, gone, spawner
from tests.support.memory import search
from tests.support.pin_cell import FRESH, KEYS, OPENED, PROOF, PinEnds, fork_pin, hashed
from vault.cell_ends import EXIT_BAD_COMMAND, EXIT_BROKER_GONE, EXIT_ENDED, EXIT_EXPIRED
from vault.door import PinField, PinProblem
from vault.pin_hash import Cost, PinKeys, Under, code_digest
from vault.pin_progress import (
    PinHashed,
    PinHelp,
    PinKeyed,
    PinOpened,
    PinOver,
    PinSilence,
    PinTrouble,
    PinUnsealed,
    Start,
)
from vault.pin_seal import make_key, private_key, public_key, seal_message
from vault.progress import End, PostureTold
from vault.spawner import _hashes_pins

CHALLENGE = b"c" * 16


@pytest.fixture(scope="module")
def house() -> Iterator[SpawnerEnds]:
    """One spawner for all tests of this file."""
    path = Path(tempfile.mkdtemp(prefix="payivr-"))
    path.chmod(0o755)
    with spawner(path) as ends:
        yield ends
    shutil.rmtree(path)


@dataclass(frozen=True, repr=False)
class SealKey:
    """Both halves of a key of the vault."""

    public: RSAPublicKey
    private: bytes


@pytest.fixture(scope="module")
def seal_key() -> SealKey:
    pem = make_key()
    public = load_der_public_key(public_key(pem))
    assert isinstance(public, RSAPublicKey)
    return SealKey(public, private_key(pem))


@pytest.fixture(autouse=True)
def _all_ends_closed() -> Iterator[None]:
    """Whatever a test leaves open is closed."""
    yield
    while OPENED:
        OPENED.pop().hang_up()


def started(house: SpawnerEnds, purpose: str = "verify", **values: object) -> PinEnds:
    """A cell whose first field is open."""
    cell = fork_pin(house, purpose, **values)  # type: ignore[arg-type]
    cell.say(Start())
    cell.until(PinOpened)
    return cell


def sealed(
    house: SpawnerEnds, key: SealKey, purpose: str, *fields: str, challenge: bytes = CHALLENGE
) -> PinEnds:
    """A cell that was given a sealed PIN."""
    plain = challenge + b"".join(bytes([len(each)]) + each.encode() for each in fields)
    blob = key.public.encrypt(plain, OAEP(MGF1(SHA256()), SHA256(), None))
    cell = fork_pin(house, purpose, sealed=True)
    cell.report.send(seal_message(CHALLENGE, blob, key.private))
    return cell


def test_nothing_is_weak_and_the_hash_is_what_the_page_says(house: SpawnerEnds) -> None:
    """Posture as of a card's cell; the hash is that of another library; the cell ends by itself."""
    cell = started(house, keys=PinKeys(*_without_fresh()))
    cell.press("4711#")
    told = cell.until(PinHashed)
    posture = cell.facts[0]
    assert isinstance(posture, PostureTold)
    assert () == posture.weak
    assert (hashed("4711", PROOF), "") == (told.proof, told.fresh)
    assert [1, 2, 3, 4] == [fact.digits for fact in cell.facts if isinstance(fact, PinKeyed)]
    assert EXIT_ENDED == house.cell_end()["status"]


def _without_fresh() -> tuple[object, ...]:
    return (KEYS.tenant, KEYS.member_id, KEYS.born, KEYS.window_key, PROOF, None, KEYS.code_key)


def test_the_real_cost_fits_into_the_walls_of_a_cell(house: SpawnerEnds) -> None:
    """19 MiB and two rounds under seccomp; the longest PIN ends by itself."""
    under = Under(b"p" * 32, b"s" * 16, Cost())
    cell = started(house, keys=PinKeys("demo", "mem_one", "", b"w" * 32, under, None, b""))
    cell.press("471108")
    assert hashed("471108", under) == cell.until(PinHashed).proof
    house.cell_end()


def test_change_tells_both_hashes_at_once(house: SpawnerEnds) -> None:
    """Old under the stored salt, new under the fresh one; nothing is told before all is keyed."""
    cell = started(house, "change")
    cell.press("4711#")
    cell.until(PinOpened)
    cell.press("83614#83614")
    told = cell.until(PinHashed)
    assert (hashed("4711", PROOF), hashed("83614", FRESH)) == (told.proof, told.fresh)
    assert [PinField.PIN, PinField.NEW, PinField.AGAIN] == [
        fact.field for fact in cell.facts if isinstance(fact, PinOpened)
    ]
    house.cell_end()


def test_reset_tells_the_codes_keyed_hash(house: SpawnerEnds) -> None:
    """The same that the broker stored when it drew the code."""
    cell = started(house, "reset")
    cell.press("90210876" + "8361#8361")
    told = cell.until(PinHashed)
    assert code_digest(KEYS.code_key, "demo", "mem_one", b"90210876") == told.proof
    assert (hashed("8361", FRESH), "") == (told.fresh, told.mark)
    house.cell_end()


def test_the_mark_is_of_the_value_and_not_of_the_member(house: SpawnerEnds) -> None:
    """One PIN tried on two members gives one mark and two hashes."""
    told = []
    for member in ("mem_one", "mem_two"):
        keys = PinKeys("demo", member, "", KEYS.window_key, PROOF, None, b"")
        cell = started(house, keys=keys)
        cell.press("4711#")
        told.append(cell.until(PinHashed))
        house.cell_end()
    assert told[0].mark == told[1].mark
    assert told[0].proof != told[1].proof
    assert not any(character.isdigit() for one in told for character in one.proof + one.mark)


def test_the_birth_date_comes_with_the_keys_and_is_refused(house: SpawnerEnds) -> None:
    """5 March 1980 as DDMM."""
    cell = started(house, "set")
    cell.press("0503#")
    assert PinProblem.EASY is cell.until(PinTrouble).problem
    cell.hang_up()
    house.cell_end()


def test_keys_before_the_start_are_nobodys(house: SpawnerEnds) -> None:
    """The caller was not asked yet."""
    cell = fork_pin(house, "verify")
    cell.press("99")
    time.sleep(0.1)
    cell.say(Start())
    cell.press("4711#")
    assert hashed("4711", PROOF) == cell.until(PinHashed).proof
    house.cell_end()


def test_help_and_silence_are_told_and_the_idle_limit_ends_it(house: SpawnerEnds) -> None:
    """Timers run in the cell."""
    limits = {"silence_s": 0.1, "idle_s": 0.5}
    cell = started(house, limits=limits)
    cell.press("4**")
    assert PinField.PIN is cell.until(PinHelp).field
    assert PinField.PIN is cell.until(PinSilence).field
    assert PinProblem.NO_INPUT is cell.until(PinTrouble).problem
    assert "idle" == cell.until(PinOver).limit
    assert EXIT_EXPIRED == house.cell_end()["status"]


@pytest.mark.parametrize("end", ["command", "broker", "nonsense"])
def test_the_broker_ends_it(house: SpawnerEnds, end: str) -> None:
    """By a word, by its death, and by a word that is none."""
    cell = started(house)
    cell.press("47")
    if end == "command":
        cell.say(End())
    elif end == "broker":
        cell.report.close()
    else:
        cell.report.send(b"{}")
    status = {"command": EXIT_ENDED, "broker": EXIT_BROKER_GONE, "nonsense": EXIT_BAD_COMMAND}[end]
    assert status == house.cell_end()["status"]
    cell.hang_up()


def test_no_cell_outlives_a_kill_and_its_pipe_is_closed(house: SpawnerEnds) -> None:
    """Media sees the end of the pipe and stays SECURE."""
    cell = started(house)
    assert cell.keys is not None
    os.kill(cell.pid, 9)
    assert gone(cell.pid)
    assert b"" == cell.keys.recv(1)
    house.cell_end()
    cell.hang_up()


def test_a_sealed_pin_gives_the_same_hash_as_a_keyed_one(house: SpawnerEnds, seal_key: SealKey) -> None:
    """No key pipe is needed; what the cell tells is what it tells of a keyed PIN."""
    told = sealed(house, seal_key, "verify", "4711").until(PinHashed)
    assert hashed("4711", PROOF) == told.proof
    house.cell_end()
    told = sealed(house, seal_key, "change", "4711", "83614", "83614").until(PinHashed)
    assert (hashed("4711", PROOF), hashed("83614", FRESH)) == (told.proof, told.fresh)
    house.cell_end()


@pytest.mark.parametrize(
    ("purpose", "fields", "problem"),
    [
        ("verify", ("471",), PinProblem.TOO_SHORT),
        ("verify", ("",), PinProblem.NO_INPUT),
        ("set", ("1234", "1234"), PinProblem.EASY),
        ("set", ("0503", "0503"), PinProblem.EASY),
        ("reset", ("90210876", "8361", "8362"), PinProblem.MISMATCH),
        ("reset", ("9021087", "8361", "8361"), PinProblem.TOO_SHORT),
    ],
)
def test_a_sealed_pin_is_judged_as_a_keyed_one(
    house: SpawnerEnds, seal_key: SealKey, purpose: str, fields: tuple[str, ...], problem: PinProblem
) -> None:
    """The problem is told and nothing is hashed."""
    assert problem is sealed(house, seal_key, purpose, *fields).until(PinUnsealed).problem
    assert EXIT_ENDED == house.cell_end()["status"]


def test_a_sealed_reset_to_the_birth_date_is_hashed_like_any_other(
    house: SpawnerEnds, seal_key: SealKey
) -> None:
    """Whoever sends it has proven nothing yet; the code is judged first."""
    told = sealed(house, seal_key, "reset", "90210876", "0503", "0503").until(PinHashed)
    assert told.easy
    assert told.proof
    house.cell_end()


@pytest.mark.parametrize("fault", ["challenge", "letters", "fields", "blob", "key", "longer"])
def test_a_broken_seal_is_said_to_be_broken(house: SpawnerEnds, seal_key: SealKey, fault: str) -> None:
    """Another challenge, no digits, too few fields, bytes that are no seal, a key that is none."""
    if fault == "challenge":
        cell = sealed(house, seal_key, "verify", "4711", challenge=b"d" * 16)
    elif fault == "letters":
        cell = sealed(house, seal_key, "verify", "47a1")
    elif fault == "fields":
        cell = sealed(house, seal_key, "change", "4711")
    elif fault == "longer":
        cell = sealed(house, seal_key, "verify", "4711", "4711")
    else:
        cell = fork_pin(house, "verify", sealed=True)
        blob, key = bytes(384), seal_key.private
        cell.report.send(seal_message(CHALLENGE, blob, key if fault == "blob" else b"no key"))
    assert cell.until(PinUnsealed).problem is None
    assert EXIT_ENDED == house.cell_end()["status"]


@pytest.mark.parametrize(
    "values",
    [
        {"purpose": "guess"},
        {"digits_min": 3},
        {"digits_max": 13},
        {"digits_min": 6, "digits_max": 5},
        {"sealed": 1},
        {"limits": {"entry_s": 301}},
        {"limits": {"colour": 1}},
    ],
)
def test_the_spawner_refuses_what_is_no_pin(house: SpawnerEnds, values: dict[str, object]) -> None:
    """Forms, purposes and limits that no tenant may have."""
    asked = {"capture_id": "p", "purpose": "verify", "digits_min": 4, "digits_max": 6, "sealed": False}
    assert house.ask("fork_pin", **{**asked, **values})["ok"] is False


def test_a_library_without_argon2id_keeps_no_card_from_being_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The spawner starts, says so, and refuses PINs alone."""

    def unsupported() -> None:
        raise UnsupportedAlgorithm("no argon2id")

    monkeypatch.setattr("vault.spawner.preload", unsupported)
    assert not _hashes_pins()
    assert "PINs are refused" in capsys.readouterr().err


@pytest.mark.root
def test_a_pin_stands_in_no_memory_but_the_secret_page(house: SpawnerEnds) -> None:
    """While nine digits are keyed, neither spawner nor cell shows them to root."""
    cell = started(house, digits_max=12)
    cell.press("749203618")
    while len([fact for fact in cell.facts if isinstance(fact, PinKeyed)]) < 9:
        cell.fact()
    found = search(cell.pid, b"749203618")
    assert (0, True) == (found.hits, found.sealed >= 1)
    assert 0 == search(house.process.pid, b"749203618").hits
    cell.hang_up()
    house.cell_end()
