"""Messages in the manner of RFC 4475, one file each: what must be read, and what must be refused and how."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.wire import (
    Message,
    Request,
    Response,
    cseq,
    name_addr,
    parse,
    response_to,
    tag_of,
    top_via,
)

FOLDER = Path(__file__).parent / "torture"
EXPECTED = tomllib.loads((FOLDER / "expected.toml").read_text())


def value_of(message: Message, what: str) -> Any:
    """One named fact of a message, as `expected.toml` names it."""
    if what in {"method", "status", "reason", "uri"}:
        return getattr(message, what)
    sender = message.get("From") or ""
    facts = {
        "branch": lambda: top_via(message).branch,
        "via_host": lambda: top_via(message).host,
        "received": lambda: top_via(message).received,
        "vias": lambda: len(message.get_all("Via")),
        "from_tag": lambda: tag_of(sender),
        "from_display": lambda: name_addr(sender).display,
        "to_tag": lambda: tag_of(message.get("To") or ""),
        "contact": lambda: name_addr(message.get_all("Contact")[0]).uri,
        "contacts": lambda: len(message.get_all("Contact")),
        "cseq": lambda: cseq(message).number,
        "body": lambda: len(message.body),
    }
    return facts[what]()


@pytest.mark.parametrize("name", EXPECTED["accept"])
def test_legal_message_is_read_right(name: str) -> None:
    """Every fact the table names comes out of the message as its writer meant it."""
    message = parse((FOLDER / "accept" / f"{name}.sip").read_bytes())
    wanted = {what: value for what, value in EXPECTED["accept"][name].items() if what != "why"}
    assert wanted == {what: value_of(message, what) for what in wanted}


@pytest.mark.parametrize("name", EXPECTED["accept"])
def test_legal_message_survives_being_written_and_read(name: str) -> None:
    """Raw values, order and body are the same after a round over the wire."""
    message = parse((FOLDER / "accept" / f"{name}.sip").read_bytes())
    again = parse(message.to_bytes())
    rows = [row for row in message.headers if row[0] != "Content-Length"]
    assert message.start_line() == again.start_line()
    assert [*rows, ("Content-Length", str(len(message.body)))] == again.headers
    assert message.body == again.body


@pytest.mark.parametrize("name", EXPECTED["accept"])
def test_answer_echoes_what_identifies_the_request(name: str) -> None:
    """Via, From, To, Call-ID and CSeq of the answer are the request's own text (RFC 3261 §8.2.6.2)."""
    message = parse((FOLDER / "accept" / f"{name}.sip").read_bytes())
    if isinstance(message, Request):
        answer = parse(response_to(message, 486).to_bytes())
        for header in ("Via", "From", "To", "Call-ID", "CSeq"):
            rows = [value for row, value in message.headers if row == header]
            assert rows == [value for row, value in answer.headers if row == header]


@pytest.mark.parametrize("name", EXPECTED["refuse"])
def test_illegal_message_is_refused_with_its_answer(name: str) -> None:
    """The status is the one the fault deserves; a request can be answered where there is a way back."""
    wanted = EXPECTED["refuse"][name]
    with pytest.raises(Malformed) as caught:
        parse((FOLDER / "refuse" / f"{name}.sip").read_bytes())
    assert (wanted["status"], wanted["answerable"]) == (caught.value.status, caught.value.request is not None)
    if caught.value.request is not None:
        answer = parse_loosely(response_to(caught.value.request, caught.value.status).to_bytes())
        assert wanted["status"] == answer.status


def parse_loosely(data: bytes) -> Response:
    """A response that may lack what its broken request lacked."""
    try:
        message = parse(data)
    except Malformed:
        return Response(int(data.split(b" ")[1]))
    assert isinstance(message, Response)
    return message


def test_set_is_large_and_complete() -> None:
    """Every file has its row and every row its file, and there are enough of both kinds."""
    for kind, least in (("accept", 23), ("refuse", 20)):
        files = {path.stem for path in (FOLDER / kind).glob("*.sip")}
        assert files == set(EXPECTED[kind])
        assert least <= len(files)


def test_message_of_a_refusal_quotes_nothing() -> None:
    """No sentence of an error holds a word of the message that caused it."""
    for name in EXPECTED["refuse"]:
        with pytest.raises(Malformed) as caught:
            parse((FOLDER / "refuse" / f"{name}.sip").read_bytes())
        assert "alice" not in f"{caught.value} {caught.value!r} {caught.value.request!r}".lower()
