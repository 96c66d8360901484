"""Fingerprints: the same card is known again under every version, and nothing else is."""

import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.outbox import holds_pan
from tests.support.cell import AMEX, MASTERCARD, VISA, CellEnds, SpawnerEnds, gone, spawner
from vault.card import Card
from vault.door import Field
from vault.fingerprint import (
    BIN_DIGITS,
    DIGEST_BYTES,
    KEY_BYTES,
    VERSIONS_MAX,
    Fingerprints,
    keys_message,
    letters,
)
from vault.progress import Open, Ready
from vault.secret_page import SecretPage

OLD = (1, b"o" * KEY_BYTES, b"p" * KEY_BYTES)
NEW = (2, b"n" * KEY_BYTES, b"m" * KEY_BYTES)
keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


def made(versions: list[tuple[int, bytes, bytes]], pan: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    page = SecretPage(sealed=False)
    card, prints = Card(page), Fingerprints(page)
    for digit in pan:
        card.pan.append(int(digit))
    if versions:
        prints.load(keys_message(versions))
    return prints.of_card(card.pan), prints.of_bin(card.pan)


def test_a_fingerprint_is_the_keyed_hash_of_the_pan():
    """Against HMAC written out; the version stands in front, newest first."""
    cards, bins = made([NEW, OLD], VISA)
    whole = letters(hmac.digest(NEW[1], VISA.encode(), "sha256")[:DIGEST_BYTES])
    first = letters(hmac.digest(OLD[2], VISA[:BIN_DIGITS].encode(), "sha256")[:DIGEST_BYTES])
    assert (f"fp_2_{whole}", 2) == (cards[0], len(cards))
    assert f"bin_1_{first}" == bins[1]


def test_without_keys_there_are_no_fingerprints():
    """A cell that was given none still works."""
    assert ((), ()) == made([], VISA)


def test_cards_of_one_range_share_the_bin_only():
    """4242 4242 is one range of two test cards."""
    (one, one_bin), (other, other_bin) = made([NEW], VISA), made([NEW], "4242424242424241")
    assert one_bin == other_bin
    assert one != other
    assert one_bin != made([NEW], AMEX)[1]


@given(st.integers(0, 999_999), keys, keys)
def test_no_fingerprint_looks_like_a_pan_or_holds_a_digit_of_it(version, card, bin_):
    """Letters after the version: they may stand in a log entry or a database."""
    for text in sum(made([(version, card, bin_)], MASTERCARD), ()):
        assert re.fullmatch(r"(?:fp|bin)_[0-9]{1,6}_[a-p]{32}", text)
        assert not holds_pan(text)


@given(st.binary(min_size=16, max_size=32))
def test_letters_never_look_like_a_pan(digest):
    """Two letters a-p per byte, reversible, no digit."""
    text = letters(digest)
    assert not holds_pan(text)
    assert digest == bytes(
        16 * (ord(a) - 97) + ord(b) - 97 for a, b in zip(text[::2], text[1::2], strict=True)
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01",
        b"\x01x",
        keys_message([NEW])[:-1],
        b"{" + keys_message([NEW])[1:],
        keys_message([NEW] * 5),
    ],
)
def test_a_message_of_another_shape_is_refused(message):
    """Too short, too long, another mark, more versions than there is room for."""
    assert len([NEW] * 5) > VERSIONS_MAX
    with pytest.raises(ValueError):
        Fingerprints(SecretPage(sealed=False)).load(message)


def keyed(house: SpawnerEnds, message: bytes) -> CellEnds:
    cell = house.fork()
    cell.report.send(message)
    cell.say(Open(Field.PAN))
    cell.press(MASTERCARD + "1230123")
    return cell


def test_a_cell_tells_the_fingerprints_of_its_keys(short_dir: Path):
    """A real cell, forked, walled in and keyed; the spawner has never seen the keys."""
    with spawner(short_dir) as house:
        cell = keyed(house, keys_message([NEW, OLD]))
        ready = cell.until(Ready)
        assert made([NEW, OLD], MASTERCARD) == (ready.fingerprints, ready.bins)
        cell.hang_up()
        broken = house.fork()
        broken.report.send(keys_message([NEW])[:-1])
        assert gone(broken.pid)
        broken.hang_up()
