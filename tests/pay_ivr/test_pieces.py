"""A sentence is cut where a recording may begin and end, and a value is put together from recordings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.catalogue import Catalogue, Key, pieces_of
from pay_ivr.pieces import PAUSE, Piece, assemble, cut, letters, mark, unmarked

CATALOGUE = Catalogue()


def test_a_sentence_is_cut_at_its_values():
    """The words between two values are one piece; signs alone are none."""
    said = CATALOGUE.said("es-ES", Key.MOVEMENT_EXPIRED, points=1_000_000, year=2026, month=3, day=1)
    assert (
        Piece("El", value=False),
        Piece("uno de marzo de dos mil veintiséis", value=True),
        Piece("caducidad de", value=False),
        Piece("un millón", value=True),
        Piece("de puntos.", value=False),
    ) == said.pieces


def test_a_name_is_one_piece():
    """What a tenant calls a reward is recorded as it is, never spelled from other recordings."""
    said = CATALOGUE.said("en-US", Key.REDEEM_CONFIRM, reward="Ice", points=2)
    assert Piece("Ice", value=True, whole=True) in said.pieces


def test_every_variant_of_a_sentence_is_read_once():
    """Two choices by the same number are made alike: no `Punkte verfällt` is asked for."""
    assert ("Davon verfällt", "Punkt am", "Davon verfallen", "Punkte am") == pieces_of(
        "de-DE", Key.BALANCE_EXPIRING
    )


@pytest.mark.parametrize(
    ("text", "known", "parts"),
    [
        ("einundzwanzig", {"ein", "und", "zwanzig", "einundzwanzig"}, ("einundzwanzig",)),
        ("zweitausendeins", {"zwei", "tausend", "ein", "eins"}, ("zwei", "tausend", "eins")),
        ("treinta y una mil", {"treintayuna", "mil"}, ("treintayuna", "mil")),
        ("vier zwei, acht", {"vier", "zwei", "acht"}, ("vier", "zwei", PAUSE, "acht")),
        ("elf", {"e", "ell", "eff", "l", "f"}, None),
        ("e e", {"e"}, ("e", "e")),
        ("drei", {"zwei"}, None),
        ("x" * 300, {"x", "xx"}, None),
    ],
)
def test_a_value_is_said_with_the_fewest_recordings(text, known, parts):
    """Whole words before parts; a letter's name says no part of a word; a comma is a pause."""
    assert parts == assemble(text, known)


@given(st.lists(st.tuples(st.booleans(), st.text(st.characters(exclude_categories=["C"]), max_size=20))))
def test_marks_never_reach_a_voice(parts: list[tuple[bool, str]]):
    """Whatever is marked, the sentence reads as if it were not, and its pieces hold the same letters."""
    marked = "".join(mark(text) if value else text for value, text in parts)
    plain = "".join(text for _, text in parts)
    assert " ".join(plain.split()) == unmarked(marked)
    assert letters(plain) == "".join(letters(piece.text) for piece in cut(marked))
