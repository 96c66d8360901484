"""Points for a reward: what there is, a confirmation, one redemption under one key, the truth about it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from loyalty.answers import Channel, NotRedeemed, Offer, Redeemed, Refusal
from loyalty.errors import LoyaltyError
from loyalty.flows._dialogue import CALLER, Choice, Dialogue
from loyalty.members import CardState
from loyalty.programme import RewardKind
from loyalty.redemption.in_time import in_time
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence

PAGE: Final = 6
"""Offers read out at once; the keys after them belong to the menu."""
MORE_KEY, BACK_KEY = "7", "0"
LATE_TRIES: Final = 3
"""How often a redemption without an answer is asked for again, under the same key."""


class _Way(StrEnum):
    MORE = "more"
    BACK = "back"


async def redeem(dialogue: Dialogue) -> None:
    """Offers what the member can afford, books what is confirmed, says what became of it."""
    member = await in_time(dialogue.loyalty.members.get(dialogue.tenant, dialogue.member_id))
    if member.card_state is not CardState.ACTIVE:
        dialogue.tell(Sentence(Key.REDEEM_CARD_LOCKED))
        return
    offer = await _chosen(dialogue)
    if offer is None:
        return
    price = {"reward": offer.name, "points": offer.points}
    if not await dialogue.confirm(Sentence(Key.REDEEM_CONFIRM, price)):
        dialogue.tell(Sentence(Key.NOT_REDEEMED))
        return
    dialogue.inform(*await _outcome(dialogue, offer, await _book(dialogue, offer)))


async def _chosen(dialogue: Dialogue) -> Offer | None:
    language = dialogue.line.call.language
    every = await in_time(dialogue.loyalty.rewards(dialogue.tenant, dialogue.member_id, language))
    offers = [offer for offer in every if offer.affordable]
    if not offers:
        dialogue.tell(Sentence(Key.NOTHING_TO_REDEEM))
        return None
    balance = await in_time(dialogue.loyalty.balance(dialogue.tenant, dialogue.member_id))
    dialogue.tell(Sentence(Key.REDEEM_INTRO, {"points": balance.available}))
    first = 0
    while True:
        answer = await dialogue.choose(_page(offers, first))
        if isinstance(answer, Offer):
            return answer
        if answer is _Way.BACK:
            return None
        first = first + PAGE if first + PAGE < len(offers) else 0


def _page(offers: Sequence[Offer], first: int) -> list[Choice[Offer | _Way]]:
    choices: list[Choice[Offer | _Way]] = [
        Choice(str(digit), _offered(offer, digit), offer)
        for digit, offer in enumerate(offers[first : first + PAGE], 1)
    ]
    if len(offers) > PAGE:
        choices.append(Choice(MORE_KEY, Sentence(Key.MENU_MORE, {"digit": int(MORE_KEY)}), _Way.MORE))
    choices.append(Choice(BACK_KEY, Sentence(Key.MENU_BACK, {"digit": int(BACK_KEY)}), _Way.BACK))
    return choices


def _offered(offer: Offer, digit: int) -> Sentence:
    key = Key.REWARD_VOUCHER if offer.kind is RewardKind.VOUCHER else Key.REWARD_DONATION
    return Sentence(key, {"digit": digit, "reward": offer.name, "points": offer.points})


async def _book(dialogue: Dialogue, offer: Offer) -> Redeemed | NotRedeemed | None:
    """How it ended; None when even asking again under the same key brought no answer."""
    key = dialogue.next_key("redeem")
    for _ in range(LATE_TRIES):
        try:
            return await dialogue.loyalty.redeem(
                dialogue.tenant,
                dialogue.member_id,
                offer.reward_id,
                key=key,
                channel=Channel.PHONE,
                call_id=dialogue.line.call.call_id,
                by=CALLER,
            )
        except LoyaltyError as error:
            if not error.retryable:
                raise
            await dialogue.say(Sentence(Key.PLEASE_WAIT))
    return None


async def _outcome(
    dialogue: Dialogue, offer: Offer, outcome: Redeemed | NotRedeemed | None
) -> tuple[Sentence, ...]:
    if outcome is None:
        return (Sentence(Key.REDEEM_UNKNOWN),)
    if isinstance(outcome, NotRedeemed):
        if outcome.code is Refusal.INSUFFICIENT:
            balance = await in_time(dialogue.loyalty.balance(dialogue.tenant, dialogue.member_id))
            return (Sentence(Key.REDEEM_INSUFFICIENT, {"points": balance.available}),)
        return (Sentence(_REFUSED.get(outcome.code, Key.NOT_REDEEMED)),)
    price = {"reward": offer.name, "points": outcome.points}
    if outcome.code is None:
        return (Sentence(Key.REDEEMED_DONATION, {**price, "receipt": outcome.receipt}),)
    told = (Sentence(Key.REDEEMED_VOUCHER, price), Sentence(Key.VOUCHER_CODE, {"code": outcome.code}))
    return (*told, Sentence(Key.VOUCHER_SENT)) if outcome.delivery is not None else told


_REFUSED: Final = {
    Refusal.CARD_LOCKED: Key.REDEEM_CARD_LOCKED,
    Refusal.LIMIT_REACHED: Key.REDEEM_LIMIT,
    Refusal.OUT_OF_STOCK: Key.REDEEM_OUT_OF_STOCK,
    Refusal.PROVIDER_REFUSED: Key.REDEEM_OUT_OF_STOCK,
    Refusal.REWARD_UNKNOWN: Key.REDEEM_OUT_OF_STOCK,
    Refusal.LATER: Key.REDEEM_LATER,
}
"""Why nothing was booked → its sentence; `not_redeemed` for the rest."""
