"""What the door does for PINs: ids, counts and results both ways, and sealed PINs inwards, unread."""

from dataclasses import asdict
from typing import Any

from vault.door import PinProblem, Refused
from vault.operations import Operation, text
from vault.pin_book import PinBook
from vault.pin_message import check_by, check_member_id, new_pin_entry_from_json, pin_entry_as_json
from vault.pin_seals import PinSeals
from vault.pin_store import Member
from vault.pins import Pins, now_ms
from vault.wire import Json

BASE64_MAX = 1_000
"""Characters of a sealed PIN: 384 bytes make 512."""


def pin_operations(pins: Pins, book: PinBook, seals: PinSeals) -> dict[str, Operation]:
    """Every operation on PINs by its name."""

    async def open_pin(body: Json) -> Json:
        return {"entry": pin_entry_as_json(await pins.open(new_pin_entry_from_json(body.get("new"))))}

    async def cancel_pin(body: Json) -> Json:
        check_by(text(body, "by"))
        return {"entry": pin_entry_as_json(await pins.cancel(text(body, "entry_id")))}

    async def pin_entry(body: Json) -> Json:
        return {"entry": pin_entry_as_json(pins.entry(text(body, "entry_id")))}

    async def pin_standing(body: Json) -> Json:
        return {"standing": asdict(await book.standing(_member(body)))}

    async def unlock_pin(body: Json) -> Json:
        return {"standing": asdict(await book.unlock(_member(body), check_by(text(body, "by"))))}

    async def issue_reset_code(body: Json) -> Json:
        return {"code": await book.issue_code(_member(body), check_by(text(body, "by")), now_ms())}

    async def forget_pin(body: Json) -> Json:
        await book.forget(_member(body))
        return {}

    return {
        "open_pin": open_pin,
        "cancel_pin": cancel_pin,
        "pin_entry": pin_entry,
        "pin_standing": pin_standing,
        "unlock_pin": unlock_pin,
        "issue_reset_code": issue_reset_code,
        "forget_pin": forget_pin,
        **_sealed(seals),
    }


def _sealed(seals: PinSeals) -> dict[str, Operation]:
    async def pin_seal(body: Json) -> Json:
        return {"seal": asdict(await seals.seal(text(body, "tenant")))}

    async def check_sealed_pin(body: Json) -> Json:
        new = new_pin_entry_from_json(body.get("new"))
        words = (text(body, "key_id"), text(body, "challenge"), _base64(body.get("sealed")))
        answer = await seals.check(new, *words)
        return {"problem" if isinstance(answer, PinProblem) else "result": answer.value}

    return {"pin_seal": pin_seal, "check_sealed_pin": check_sealed_pin}


def _member(body: Json) -> Member:
    return Member(text(body, "tenant"), check_member_id(text(body, "member_id")))


def _base64(value: Any) -> str:
    if not isinstance(value, str) or len(value) > BASE64_MAX:
        raise Refused("bad_request", "The sealed PIN is a base64 text.")
    return value
