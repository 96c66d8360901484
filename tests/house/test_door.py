"""THE DOOR: no public type of the vault leads to a card or a PIN, and none can carry text that is one."""

import dataclasses
import enum
import inspect
import types
import typing

import vault
from vault import card, pin_capture, pin_hash

SECRET_TYPES = {
    value for value in vars(card).values() if inspect.isclass(value) and value.__module__ == "vault.card"
} | {pin_capture.PinDigits, pin_hash.PinHasher, pin_hash.PinKeys, pin_hash.Under}


def reachable(root: object) -> set[object]:
    """Every type that annotations lead to from here."""
    seen: set[object] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if one in seen or not hasattr(one, "__hash__"):
            continue
        seen.add(one)
        waiting += typing.get_args(one)
        if inspect.isclass(one) and one.__module__.startswith("vault"):
            waiting += typing.get_type_hints(one).values()
            for member in vars(one).values():
                if isinstance(member, types.FunctionType):
                    waiting += typing.get_type_hints(member).values()
    return seen


def test_no_public_name_leads_to_a_card_type() -> None:
    """Annotations of every door name, followed to the end, never meet a type of a card or of a PIN."""
    met = {one for name in vault.__all__ for one in reachable(getattr(vault, name))}

    assert SECRET_TYPES
    assert set() == met & SECRET_TYPES


def test_public_types_are_frozen_or_words() -> None:
    """What crosses the wall is a value: a frozen dataclass, an enumeration, an error or a client."""
    loose = [
        name
        for name in vault.__all__
        if not issubclass(getattr(vault, name), (enum.Enum, Exception))
        and not (
            dataclasses.is_dataclass(getattr(vault, name))
            and getattr(vault, name).__dataclass_params__.frozen
        )
        and name not in {"Door", "MediaClient"}
    ]

    assert [] == loose


def test_the_doors_calls_offer_no_way_to_read_a_pan_or_to_set_a_mode() -> None:
    """There is no such call, by name and by list: whoever adds one changes this line."""
    door = {
        name
        for name, value in vars(vault.Door).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    media = {
        name
        for name, value in vars(vault.MediaClient).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }

    assert {
        "connect", "close", "create_payment", "payment", "payments_of_call", "open_capture", "rekey", "talk",
        "ask_confirm", "charge", "cancel", "end_call", "facts", "settle", "void", "refund", "history",
        "search", "kept_cards", "forget_card", "webhook", "vault_keys", "rotate_key", "retire_key",
        "book_tenants", "reconcile", "books_csv", "explain_item", "open_link", "link_page", "answer_link",
        "open_pin", "cancel_pin", "pin_entry", "pin_facts", "pin_standing", "unlock_pin", "issue_reset_code",
        "forget_pin", "pin_seal", "check_sealed_pin",
    } == door  # fmt: skip
    assert {
        "connect", "close", "open_leg", "set_remote", "bridge", "unbridge", "load_prompt", "unload_prompt",
        "play", "stop_play", "collect", "stop_collect", "close_leg", "legs", "stats", "info_key", "facts",
    } == media  # fmt: skip
