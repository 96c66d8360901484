"""Members as flows, the desk, the API and the command line use them: short database transactions, one each.

Every change writes its audit entry in its own database transaction, ids and closed words only. A claim costs
the same for a member as for nobody: two keyed hashes, one database transaction with the same statements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO

from loyalty.errors import LoyaltyError
from loyalty.keys import Purpose
from loyalty.members import dossier, erasure, exchange
from loyalty.members.change_letter import letter_of, told_at
from loyalty.members.dossier import NOBODY, Others
from loyalty.members.erasure import Erased
from loyalty.members.exchange import Imported, OnBad
from loyalty.members.letters import file_letter
from loyalty.members.office import Office, Pins
from loyalty.members.person import (
    Ambiguous,
    Claim,
    Member,
    Person,
    Reason,
    Role,
    keyed_digits,
    plain_postcode,
)
from loyalty.members.register import (
    Altered,
    Change,
    Newcomer,
    Register,
)
from loyalty.members.sealing import derived_id
from loyalty.members.states import Act, card_after, member_after
from loyalty.tenancy import TenantConn


@dataclass(frozen=True, repr=False)
class NewCard:
    """A card that replaces another."""

    member: Member
    number: str
    """To be printed; it is stored sealed."""


class Members(Office):
    """Every tenant's members. All methods may raise LoyaltyError; `no_programme` for a tenant without one."""

    # Who is calling

    async def claim_by_number(self, tenant: str, number: str) -> Claim:
        """Whom a customer or card number belongs to; nobody's number gets a decoy."""
        digits = keyed_digits(number)
        decoy = self._decoy(tenant, "number", digits)
        found = await self.read(tenant, lambda register: register.by_number(digits))
        return _claim(found, decoy)

    async def claim_by_birth(
        self, tenant: str, postcode: str, born: date, house_number: str = ""
    ) -> Claim | Ambiguous:
        """Whom postcode and date of birth belong to; among several the house number decides.

        Nobody's facts get a decoy, and so do facts that still fit several: an agent has to help. Where at
        most one fits, the house number changes nothing: otherwise misses would add up over house numbers for
        a member and not for a decoy, and tell the two apart.
        """
        place, day, house = plain_postcode(postcode), born.isoformat(), keyed_digits(house_number)
        decoys = [self._decoy(tenant, "birth", place, day, told) for told in ("", house)]
        found, at_house = await self.read(
            tenant,
            lambda register: (
                register.by_birth(place, day),
                register.by_birth(place, day, house) if house else (),
            ),
        )
        if len(found) <= 1:
            return _claim(found, decoys[0])
        return _claim(at_house, decoys[1]) if house else Ambiguous()

    def _decoy(self, tenant: str, *facts: str) -> str:
        return derived_id(self.keys.ring(), tenant, Purpose.DECOY, "mem", *facts)

    # Who they are

    async def get(self, tenant: str, member_id: str, *, role: Role = Role.SERVICE) -> Member:
        """The member with account and card of now; LoyaltyError("member_unknown")."""
        return await self.read(tenant, lambda register: register.member(member_id, role))

    async def person(self, tenant: str, member_id: str, *, role: Role = Role.SERVICE) -> Person:
        """The personal data; LoyaltyError("member_unknown"), also for a closed member and SERVICE."""
        return await self.read(tenant, lambda register: register.person(member_id, role))

    async def changes(self, tenant: str, member_id: str) -> tuple[Change, ...]:
        """What was changed of the personal data, with before and after, oldest first."""
        return await self.read(tenant, lambda register: register.changes(member_id))

    # Coming and going

    async def enrol(
        self, tenant: str, person: Person, *, by: str, card_number: str = "", key: str = ""
    ) -> Member:
        """A new member with account and card; the same one when the same `key` asks again.

        LoyaltyError: `person_invalid`, `number_taken`, `key_reused`, `numbers_used_up`.
        """
        newcomer = Newcomer(person, card_number, key)

        def work(register: Register) -> Member:
            if (known := register.replayed(newcomer)) is not None:
                return known
            (member,) = register.enrol([newcomer], self.now())
            self.note(register, "member.profile.enrolled", member.member_id, by)
            return member

        return await self.write(tenant, work)

    async def change(
        self,
        tenant: str,
        member_id: str,
        changes: Mapping[str, object],
        *,
        by: str,
        reason: Reason | str = Reason.CORRECTED,
    ) -> Member:
        """Other personal data: field name to value; the number is for life. Before and after are kept.

        The member is told of it, at his old address and at the new one (`change_letter.py`).
        """
        why = reason_of(reason)

        def work(register: Register) -> Member:
            register.member(member_id)
            altered = register.change(member_id, changes, self.now(), by, why)
            if altered.names:
                told = self._tell(register, member_id, altered)
                data = {"fields": ",".join(altered.names), "reason": why.value, "messages": told}
                self.note(register, "member.profile.changed", member_id, by, data=data)
            return register.member(member_id)

        member = await self.write(tenant, work)
        self.filed()
        return member

    def _tell(self, register: Register, member_id: str, altered: Altered) -> int:
        """Files the letters about a change; how many."""
        media = self.media(register.tenant)
        letter = letter_of(self.programme(register.tenant), altered.names, altered.after.language)
        addresses = told_at(altered.before, altered.after, media)
        for to in addresses:
            file_letter(register, member_id, to, letter, self.now())
        return len(addresses)

    async def lock(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """Nothing is redeemed by this member any more; asking and earning go on."""
        return await self._status(tenant, member_id, Act.LOCK, by, reason, call_id)

    async def unlock(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """Everything is allowed again."""
        return await self._status(tenant, member_id, Act.UNLOCK, by, reason, call_id)

    async def close_member(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str = Reason.ASKED
    ) -> None:
        """Out of the programme: found by no search from now on, kept sealed until he is erased."""
        await self._status(tenant, member_id, Act.CLOSE, by, reason, "")

    async def _status(
        self, tenant: str, member_id: str, act: Act, by: str, reason: Reason | str, call_id: str
    ) -> Member:
        why = reason_of(reason)

        def work(register: Register) -> Member:
            member = register.member(member_id)
            status = member_after(member.status, act)
            if member.status is not status:
                register.set_status(member, status, self.now())
                data = {"reason": why.value}
                self.note(register, _OF_MEMBER[act], member_id, by, call_id=call_id, data=data)
            return register.member(member_id, Role.LEGAL)

        return await self.write(tenant, work)

    # Cards

    async def lock_card(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """The card of now redeems nothing any more; quiet when it is locked already."""
        return await self._card(tenant, member_id, Act.LOCK, by, reason, call_id)

    async def unlock_card(
        self, tenant: str, member_id: str, *, by: str, reason: Reason | str, call_id: str = ""
    ) -> Member:
        """The card of now redeems again; whoever asks has identified the member better than by his PIN."""
        return await self._card(tenant, member_id, Act.UNLOCK, by, reason, call_id)

    async def replace_card(
        self,
        tenant: str,
        member_id: str,
        *,
        by: str,
        reason: Reason | str,
        number: str = "",
        call_id: str = "",
    ) -> NewCard:
        """A new card, active, with that number or a random one; the old one opens nothing any more."""
        why = reason_of(reason)

        def work(register: Register) -> NewCard:
            new_number = register.replace_card(register.member(member_id), number, why, self.now())
            member = register.member(member_id)
            data = {"card": member.card_id, "reason": why.value}
            self.note(register, "card.member.replaced", member_id, by, call_id=call_id, data=data)
            return NewCard(member, new_number)

        return await self.write(tenant, work)

    async def _card(
        self, tenant: str, member_id: str, act: Act, by: str, reason: Reason | str, call_id: str
    ) -> Member:
        why = reason_of(reason)

        def work(register: Register) -> Member:
            member = register.member(member_id)
            state = card_after(member.card_state, act)
            if member.card_state is not state:
                register.set_card(member, state, why, self.now())
                data = {"card": member.card_id, "reason": why.value}
                self.note(register, _OF_CARD[act], member_id, by, call_id=call_id, data=data)
            return register.member(member_id)

        return await self.write(tenant, work)

    # Files, rights of the person

    async def import_csv(
        self, tenant: str, file: BinaryIO, *, by: str, language: str, on_bad: OnBad
    ) -> Imported:
        """Takes a file of members in, see `exchange.import_csv`."""
        return await exchange.import_csv(self, tenant, file, by=by, language=language, on_bad=on_bad)

    async def export_csv(self, tenant: str, file: BinaryIO, *, by: str) -> int:
        """Writes every member that is not closed; how many, see `exchange.export_csv`."""
        return await exchange.export_csv(self, tenant, file, by=by)

    async def gdpr_export(
        self, tenant: str, member_id: str, folder: Path, *, by: str, others: Others = NOBODY
    ) -> tuple[Path, Path]:
        """All that is stored of one member as JSON and as text, see `dossier.gdpr_export`."""
        return await dossier.gdpr_export(self, tenant, member_id, folder, by=by, others=others)

    async def erase(
        self, tenant: str, member_id: str, by: str, pins: Pins | None = None, *, whole: bool = False
    ) -> Erased:
        """The person is gone, the books stay, see `erasure.erase`."""
        return await erasure.erase(self, tenant, member_id, by=by, pins=pins, whole=whole)

    async def closed_before(self, tenant: str, moment: str) -> tuple[str, ...]:
        """Ids of the members that were closed before a moment (UTC, as `now` writes it): due to be erased."""
        return await self.read(tenant, lambda register: register.closed_before(moment))

    async def finish_erasures(self, tenant: str, pins: Pins) -> int:
        """Forgets the PINs that erasures without the vault have left behind; how many."""
        return await erasure.finish(self, tenant, pins)

    # For others who keep something personal of a member

    def seal(self, conn: TenantConn, member_id: str, name: str, octets: bytes) -> bytes:
        """The octets under the member's own key, in the caller's database transaction.

        `name` says which row it is, e.g. a delivery's id; unreadable for ever once the member is erased.
        """
        return self.register(conn).seal(member_id, name, octets)

    def open(self, conn: TenantConn, member_id: str, name: str, octets: bytes) -> bytes:
        """What `seal` has sealed; LoyaltyError("member_unknown") once the member is erased."""
        return self.register(conn).open(member_id, name, octets)


_OF_MEMBER: Mapping[Act, str] = {
    Act.LOCK: "member.profile.locked",
    Act.UNLOCK: "member.profile.unlocked",
    Act.CLOSE: "member.profile.closed",
}
_OF_CARD: Mapping[Act, str] = {
    Act.LOCK: "card.member.locked",
    Act.UNLOCK: "card.member.unlocked",
}


def reason_of(word: Reason | str) -> Reason:
    """The reason of that word; LoyaltyError("reason_unknown") for any other."""
    try:
        return Reason(word)
    except ValueError:
        raise LoyaltyError("reason_unknown", "Give a reason of the list.") from None


def _claim(found: Sequence[str], decoy: str) -> Claim:
    if len(found) == 1:
        return Claim(found[0], known=True)
    return Claim(decoy, known=False)
