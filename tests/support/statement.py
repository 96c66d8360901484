"""A provider's statement from a list, for what no honest provider would state: seeded differences."""

from collections.abc import AsyncIterator, Iterable

from vault.providers.base import Abilities, FeedEntry, FeedKind

ABILITIES = Abilities(
    tokenise_first=True,
    moto=True,
    settle_later=True,
    partial_settle=True,
    keeps_cards=False,
    links=False,
    settlement_feed=True,
    key_window_s=0,
)


def entry(entry_id: str, gross_minor: int, kind: FeedKind = FeedKind.CHARGE, **changes) -> FeedEntry:
    """One entry of March 2nd, without a fee unless `changes` name one."""
    fee_minor = changes.pop("fee_minor", 0)
    values = {
        "provider_ref": f"ref_{entry_id}",
        "step_ref": "",
        "currency": "EUR",
        "made_at": "2026-03-02T10:00:00Z",
        "available_on": "2026-03-04",
        "net_minor": gross_minor - fee_minor,
        **changes,
    }
    return FeedEntry(entry_id=entry_id, kind=kind, gross_minor=gross_minor, fee_minor=fee_minor, **values)


class Statement:
    """As much of a provider as tells a statement."""

    abilities = ABILITIES

    def __init__(self, entries: Iterable[FeedEntry]) -> None:
        self.entries = list(entries)
        self.asked: list[tuple[str, str]] = []
        """Every window that was asked for."""
        self.breaks_after: int | None = None
        """The connection is lost after so many entries."""

    async def settlements(self, since: str, until: str) -> AsyncIterator[FeedEntry]:
        """The listed entries, whatever the window."""
        self.asked.append((since, until))
        for number, each in enumerate(self.entries):
            if number == self.breaks_after:
                raise ConnectionError
            yield each
