"""The catalogue: closed names, closed fields, and a test that code and catalogue agree."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entries import CATALOGUE, INTEGER_MAX, Entry, EntryError, Kind, entry_from_json, stamp

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z]+\.[a-z]+\.[a-z]+")
AT = "2026-01-02T03:04:05.678Z"


def entry(**changes):
    values = {
        "name": "payment.intent.cancelled",
        "at": AT,
        "actor": "agent:agent1",
        "subject": "pay_abc",
        "tenant": "demo",
        "call_id": "call_one",
        "data": {"by": "agent"},
    }
    return Entry(**{**values, **changes})


def literals(folder: str) -> set[str]:
    """Every string of the code that has the shape of an entry's name and its first word."""
    families = {name.split(".")[0] for name in CATALOGUE}
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        if path != ROOT / "audit" / "entries.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and NAME.fullmatch(node.value)
                ):
                    found.add(node.value)
    return {name for name in found if name.split(".")[0] in families}


def emitted(folder: str) -> set[str]:
    """Names given to `Entry(...)`, `.entry(...)` or `.write_own(...)`, directly or from a table."""
    return literals(folder) & set(CATALOGUE)


def test_every_catalogued_name_is_written_somewhere():
    """A name that nobody writes any more is taken out."""
    written = set().union(
        *(emitted(folder) for folder in ("vault", "pay_ivr", "agent_api", "loyalty", "audit"))
    )
    assert set() == set(CATALOGUE) - written


@pytest.mark.parametrize("folder", ["vault", "pay_ivr", "agent_api", "loyalty", "audit"])
def test_every_name_given_to_an_entry_is_catalogued(folder):
    """`Entry("…")` and its helpers take names of the catalogue only."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and _is_entry(node.func):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    assert first.value in CATALOGUE, f"{path.name}:{node.lineno}"


def _is_entry(called: ast.expr) -> bool:
    name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
    return name in {"Entry", "entry", "write_own"}


def test_names_are_noun_noun_past_verb():
    """Three words; the last one says that it has happened."""
    irregular = {"sent", "lost", "taken", "rung", "reset", "kept", "found", "made", "forgotten", "done"}
    irregular |= {"set", "held"}
    for name in CATALOGUE:
        assert NAME.fullmatch(name), name
        last = name.rpartition(".")[2]
        assert last.endswith("ed") or last in irregular, name


def test_entry_travels_as_json():
    """What an owner wrote is what the log reads."""
    assert entry() == entry_from_json(entry().as_json())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "payment.pan.read"},
        {"at": "2026-01-02 03:04"},
        {"at": "2026-01-02T03:04:05.678+01:00"},
        {"actor": "somebody"},
        {"actor": "agent:4242424242424242"},
        {"actor": "agent:"},
        {"subject": "4242424242424242"},
        {"subject": "a b"},
        {"subject": ""},
        {"tenant": "Demo Travel"},
        {"call_id": "4711"},
        {"outcome": "maybe"},
        {"origin": "10.0.0.1 4242"},
        {"origin": "4242424242424242"},
        {"data": {}},
        {"data": {"by": "agent", "pan": "x"}},
        {"data": {"by": "4242424242424242"}},
        {"data": {"by": "Agent One"}},
        {"data": {"by": 7}},
    ],
)
def test_entry_outside_the_catalogue_is_refused(changes):
    """Unknown names, unknown fields, other shapes, anything like a PAN; the sentence quotes no value."""
    with pytest.raises(EntryError) as refused:
        entry(**changes)
    assert "4242" not in str(refused.value)
    assert (refused.value.code, refused.value.retryable) == ("entry_refused", False)


@pytest.mark.parametrize("amount", [-1, INTEGER_MAX, True, 19.95, "1995", None])
def test_counts_are_integers_too_short_for_a_pan(amount):
    """No integer of an entry has thirteen digits."""
    with pytest.raises(EntryError):
        Entry(
            "capture.amount.confirmed",
            AT,
            "caller",
            "pay_a",
            data={"amount_minor": amount, "currency": "EUR"},
        )


@pytest.mark.parametrize("weak", ["", "landlock", "landlock,seccomp"])
def test_words_may_be_a_list(weak):
    """Short words of the code, joined by commas, or none."""
    assert Entry("posture.zone.probed", AT, "system:broker", "zone", data={"weak": weak}).data["weak"] == weak


@pytest.mark.parametrize("last4", ["424", "42424", "424x", 4242, "٤٢٤٢"])
def test_last4_is_four_digits(last4):
    """Not one more."""
    with pytest.raises(EntryError):
        Entry("payment.card.tokenised", AT, "system:broker", "pay_a", data={"brand": "visa", "last4": last4})


def test_every_kind_is_used():
    """A kind without a field is taken out."""
    used = {kind for allowed in CATALOGUE.values() for kind in allowed.values()}
    assert used <= set(Kind)


def maps(inner):
    names = st.sampled_from(["name", "at", "actor", "subject", "data", "tenant", "x"])
    return st.dictionaries(names, inner)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | maps(inner)
    )
)
def test_any_other_json_is_no_entry(body):
    """An outbox row that is not ours is refused, never a crash."""
    with pytest.raises(EntryError):
        entry_from_json(body)


def test_time_is_utc_with_milliseconds():
    """The one way the log writes time."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp())
