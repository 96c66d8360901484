"""The login: a number, or postcode and date of birth, then the PIN in a cell.

Who is unknown and who keys a wrong PIN hear the same sentences at the same moments: an unknown caller's claim
is a decoy, its PIN is asked for and compared like any other (reference 03 §2.3).
"""

from collections.abc import Callable
from datetime import date
from typing import Final

from loyalty.flows._dialogue import Dialogue, ToAgent, Wish
from loyalty.members import Ambiguous, Claim
from loyalty.redemption.in_time import in_time
from pay_ivr.catalogue import Key
from pay_ivr.languages import BirthOrder, languages
from pay_ivr.payment_voice import Sentence
from vault import PinPurpose, PinResult

LOGIN_TRIES: Final = 3
"""PINs asked for on one call; the vault's own limits count over all calls."""
HOUSE_NUMBER_DIGITS_MAX: Final = 5
BIRTH_DIGITS: Final = 8
BORN_MIN: Final = date(1900, 1, 1)

_CUTS: Final = {
    "dmy": ((4, 8), (2, 4), (0, 2)),
    "mdy": ((4, 8), (0, 2), (2, 4)),
    "ymd": ((0, 4), (4, 6), (6, 8)),
}
"""Where year, month and day stand among the eight digits."""


async def log_in(dialogue: Dialogue) -> None:
    """`dialogue.member_id` is proven when it returns; ToAgent when it could not be."""
    for attempt in range(LOGIN_TRIES):
        if attempt:
            dialogue.tell(Sentence(Key.LOGIN_FAILED))
        claim = await _claim(dialogue)
        match await dialogue.line.ask_pin(claim.member_id, PinPurpose.VERIFY):
            case PinResult.OK if claim.known:
                dialogue.member_id = claim.member_id
                return
            case PinResult.LOCKED:
                raise ToAgent(Wish.PIN_LOCKED)
    raise ToAgent(Wish.LOGIN_FAILED)


async def _claim(dialogue: Dialogue) -> Claim:
    way = await dialogue.ask(Sentence(Key.IDENTIFY_MENU), digits=1, digits_min=1, valid=_WAYS.get)
    return await way(dialogue)


async def _by_number(dialogue: Dialogue) -> Claim:
    fewest, most = dialogue.programme.number_digits
    number = await dialogue.ask(
        Sentence(Key.ASK_NUMBER), digits=most, digits_min=fewest, valid=lambda digits: digits
    )
    return await in_time(dialogue.loyalty.members.claim_by_number(dialogue.tenant, number))


async def _by_birth(dialogue: Dialogue) -> Claim:
    """Postcode and date of birth; among several the house number decides, or else the customer number."""
    fewest, most = dialogue.programme.postcode_digits
    postcode = await dialogue.ask(
        Sentence(Key.ASK_POSTCODE), digits=most, digits_min=fewest, valid=lambda digits: digits
    )
    born = await dialogue.ask(
        Sentence(Key.ASK_BIRTHDATE), digits=BIRTH_DIGITS, digits_min=BIRTH_DIGITS, valid=_birth_of(dialogue)
    )
    members = dialogue.loyalty.members
    claim = await in_time(members.claim_by_birth(dialogue.tenant, postcode, born))
    if isinstance(claim, Ambiguous):
        house_number = await dialogue.ask(
            Sentence(Key.ASK_HOUSE_NUMBER),
            digits=HOUSE_NUMBER_DIGITS_MAX,
            digits_min=1,
            valid=lambda digits: digits,
        )
        claim = await in_time(members.claim_by_birth(dialogue.tenant, postcode, born, house_number))
    return await _by_number(dialogue) if isinstance(claim, Ambiguous) else claim


_WAYS: Final = {"1": _by_number, "2": _by_birth}
"""As the sentence `identify_menu` says them."""


def _birth_of(dialogue: Dialogue) -> Callable[[str], date | None]:
    order = languages()[dialogue.line.call.language].birth_order
    today = dialogue.programme.today(dialogue.now())
    return lambda digits: birth_date(digits, order, today)


def birth_date(digits: str, order: BirthOrder, today: date) -> date | None:
    """The date of birth that eight digits mean in a language's order; None when it is nobody's."""
    year, month, day = (int(digits[first:end]) for first, end in _CUTS[order])
    try:
        born = date(year, month, day)
    except ValueError:
        return None
    return born if BORN_MIN <= born <= today else None
