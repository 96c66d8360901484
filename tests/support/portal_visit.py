"""A member's visit at the portal of a node: what the tenant offers, what is keyed and heard, step by step.

The steps are those of any caller, whatever his language and his telephone (`tests/support/portal_call.py`).
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from loyalty.programme import Reward, RewardKind
from loyalty.service import Loyalty
from pay_ivr.catalogue import Key
from pay_ivr.payment_voice import Sentence
from tests.support.members import TENANT, programme
from tests.support.node import WAIT_S, until
from tests.support.portal_call import HEARD_S, PortalCall, found_in

PIN: Final = "4913"
POINTS, PRICE = 1_500, 200
"""What a member has at first, and what a coffee costs."""
CODES: Final = ("K7P4QX9A", "M3R8TW2B", "N6V5YZ7C", "P9X4HJ3D")
NAMES: Final = {"de-DE": "Kaffee", "en-US": "coffee", "es-ES": "café", "fr-FR": "café"}
COFFEE: Final = "coffee"
OFFERED: Final = ("en-US", "de-DE", "es-ES", "fr-FR")
"""The tenant's languages in the order of its file: key 1 is the first."""
BALANCE, REDEEM, AGENT, GOODBYE = "1", "2", "3", "7"
MENU: Final = {BALANCE: "balance", REDEEM: "redeem", AGENT: "agent"}
PROGRAMME: Final = programme(
    reward=(Reward(id=COFFEE, kind=RewardKind.VOUCHER, points=PRICE, names=NAMES),),
)
"""The same, for who books beside the node."""


def offer(numbers: dict[str, str], agents: Iterable[str] = ()) -> str:
    """Sections of the tenant's file: the programme, and a number of the portal for each language.

    With agents the menu has one more item, and the numbers ring them.
    """
    items = {key: action for key, action in MENU.items() if agents or key != AGENT}
    menu = "".join(f'[[loyalty.menu]]\nkey = "{key}"\naction = "{action}"\n' for key, action in items.items())
    names = ", ".join(f'"{language}" = "{name}"' for language, name in NAMES.items())
    reward = (
        f'[[loyalty.reward]]\nid = "{COFFEE}"\nkind = "voucher"\npoints = {PRICE}\nnames = {{ {names} }}\n'
    )
    rung = f"agents = {list(agents)}\n" if agents else ""
    dids = "".join(
        f'[[telephony.did]]\nnumber = "{number}"\nflow = "loyalty.portal"\nlanguage = "{language}"\n{rung}'
        for language, number in numbers.items()
    )
    return f'\n[loyalty]\nprogramme = "miles"\nname = "Sunny Miles"\n{menu}{reward}{dids}'


async def add_codes(loyalty: Loyalty) -> None:
    """All of CODES in stock."""
    await loyalty.add_codes(TENANT, COFFEE, "\n".join(CODES), by="system:test")


def priced(language: str) -> dict[str, str | int]:
    """The coffee as sentences name it."""
    return {"reward": NAMES[language], "points": PRICE}


async def identify(call: PortalCall, number: str) -> None:
    """Welcome, the offers each in its own language up to the caller's, and his customer number."""
    await call.hears(Sentence(Key.PORTAL_WELCOME, {"tenant": "Demo Travel"}))
    for digit, offered in enumerate(OFFERED, 1):
        await call.hears(Sentence(Key.LANGUAGE_OFFER, {"digit": digit}, language=offered), whole=False)
        if offered == call.language:
            await call.key(str(digit))
            break
    await call.begins(Key.IDENTIFY_MENU)
    await call.key("1")
    await call.begins(Key.ASK_NUMBER)
    await call.key(number + "#")


async def log_in(call: PortalCall, number: str) -> None:
    """Up to the menu."""
    await identify(call, number)
    await call.begins(Key.ASK_PIN)
    await call.key(PIN + "#")
    await call.begins(Key.MENU_BALANCE, digit=int(BALANCE))


async def choose_a_coffee(call: PortalCall, points: int) -> None:
    """Up to the question whether it shall be booked; `points` are the caller's before."""
    coffee = priced(call.language)
    await call.key(REDEEM)
    await call.hears(
        Sentence(Key.REDEEM_INTRO, {"points": points}), Sentence(Key.REWARD_VOUCHER, {"digit": 1, **coffee})
    )
    await call.key("1")
    await call.hears(Sentence(Key.REDEEM_CONFIRM, coffee))
    await call.begins(Key.CONFIRM_OR_BACK)


async def hear_a_code(call: PortalCall) -> str:
    """The code that the caller is told, once it is booked."""
    await call.hears(Sentence(Key.REDEEMED_VOUCHER, priced(call.language)))
    spoken = {code: await call.spoken(Sentence(Key.VOUCHER_CODE, {"code": code})) for code in CODES}
    since = call.heard_so_far
    await until(lambda: any(found_in(call.heard, said, since) for said in spoken.values()), HEARD_S)
    return next(code for code, said in spoken.items() if found_in(call.heard, said, since))


async def say_goodbye(call: PortalCall) -> None:
    """Until the node hangs up."""
    await call.key(GOODBYE)
    await call.hears(Sentence(Key.LOYALTY_GOODBYE))
    await asyncio.wait_for(call.phone.ended.wait(), WAIT_S)
