"""The choice of a language; each offer is spoken in the language that it offers."""

from typing import Final

from loyalty.flows._dialogue import TRIES, Dialogue
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence

OFFERS_MAX: Final = 9
"""One digit each."""
FIRST_S: Final = 3.0
"""Silence means: this language is right. A caller who says so by silence should not wait long for it."""


async def choose_language(dialogue: Dialogue) -> None:
    """The caller is spoken to in the language of his key; in the one of now when no key comes."""
    tags = dialogue.line.call.languages[:OFFERS_MAX]
    if len(tags) < 2:
        return
    offers = [
        Sentence(Key.LANGUAGE_OFFER, {"digit": digit}, language=tag) for digit, tag in enumerate(tags, 1)
    ]
    for _ in range(TRIES):
        key = await dialogue.key_once(offers, first_s=FIRST_S)
        if not key:
            return
        if 1 <= int(key) <= len(tags):
            dialogue.line.speak_language(tags[int(key) - 1])
            return
        dialogue.tell(Sentence(Key.INVALID_CHOICE))
