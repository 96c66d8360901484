"""What the door does for cards on file: brand, last 4 and expiry out, never a provider's token."""

import re
from dataclasses import asdict

from vault.cards_on_file import CardsOnFile
from vault.door import Refused
from vault.operations import Operation, text
from vault.wire import Json

_BY = re.compile(r"(?:agent|user|key):[A-Za-z0-9_.@\-]{1,64}")


def card_operations(cards: CardsOnFile) -> dict[str, Operation]:
    """Every operation on kept cards by its name."""

    async def kept_cards(body: Json) -> Json:
        found = await cards.of_customer(text(body, "tenant"), text(body, "customer"))
        return {"cards": [asdict(card) for card in found]}

    async def forget_card(body: Json) -> Json:
        by = text(body, "by")
        if not _BY.fullmatch(by):
            raise Refused("bad_request", "Say who forgets the card: agent:id, key:id or user:id.")
        tenant, customer, card_id = (text(body, key) for key in ("tenant", "customer", "card_id"))
        return {"card": asdict(await cards.forget(tenant, customer, card_id, by))}

    return {"kept_cards": kept_cards, "forget_card": forget_card}
