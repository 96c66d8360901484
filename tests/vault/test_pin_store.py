"""The book and the store of PINs: counted before compared, the same for everybody, nothing half."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from vault.door import NewPinEntry, PinPurpose, PinResult, PinStanding, Refused
from vault.keys import HMAC_BYTES, HMAC_NAME, KeyFiles, Keys, Secret
from vault.pin_book import PinBook, Ticket
from vault.pin_hash import Cost, code_digest
from vault.pin_progress import PinHashed
from vault.pin_store import CODE_LIVES_S, CODES_PER_DAY, IDLE_ROWS_KEPT_S, Member, PinStore
from vault.pin_velocity import DAY_S, HOUR_S
from vault.proof.pins import cell, cheap_hash
from vault.store import Store
from vault.tenant import PaymentSection, PinSection, Tenant

NOON_MS = (20_000 * DAY_S + DAY_S // 2) * 1000
AGENT = "agent:anna"
ANNA = Member("demo", "mem_anna")


class Book:
    """A book on a database of its own, and a cell that costs nothing."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self.store, self.keys = store, keys
        self.pins = PinStore(store)
        self.now_ms = NOON_MS
        self.made_with()

    def made_with(self, cost: Cost | None = None, **pin: Any) -> None:
        """The book anew, with another cost or `[pin]`."""
        section = PaymentSection(
            provider="sandbox", currencies=("EUR",), amount_max_minor=1, purposes=("booking",)
        )
        tenant = Tenant("demo", live=False, section=section, pin=PinSection(**pin))
        self.book = PinBook(self.pins, self.keys, {"demo": tenant}, cost)

    async def ticket(self, purpose: PinPurpose = PinPurpose.VERIFY, **changes: Any) -> Ticket:
        values: dict[str, Any] = {"tenant": "demo", "member_id": "mem_anna", "purpose": purpose}
        values |= {"caller_number": "+491", "call_id": "call_one"}
        return await self.book.ticket(NewPinEntry(**{**values, **changes}), self.now_ms)

    async def set(self, pin: str, member: str = "mem_anna") -> None:
        ticket = await self.ticket(PinPurpose.SET, member_id=member, by=AGENT)
        assert PinResult.OK is await self.book.judge(ticket, self.told(ticket, "", pin), self.now_ms)

    async def tried(self, pin: str, **changes: Any) -> PinResult:
        ticket = await self.ticket(**changes)
        return await self.book.judge(ticket, self.told(ticket, pin), self.now_ms)

    async def reset(self, code: str, pin: str, **changes: Any) -> PinResult:
        ticket = await self.ticket(PinPurpose.RESET, **changes)
        new = ticket.new
        proof = code_digest(ticket.keys.code_key, new.tenant, new.member_id, code.encode())
        told = PinHashed(proof, self.told(ticket, "", pin).fresh, "")
        return await self.book.judge(ticket, told, self.now_ms)

    def told(self, ticket: Ticket, pin: str, new: str = "") -> PinHashed:
        """What a cell tells: the new hash is of the new PIN, or of the same one when it is renewed."""
        keys = ticket.keys
        base = cell(keys, ticket.new.member_id, pin)
        fresh = cheap_hash(keys.fresh, ticket.new.member_id, new or pin) if keys.fresh else ""
        return PinHashed(base.proof, fresh, base.mark if pin else "")

    async def column(self, query: str) -> list[Any]:
        async with self.store.engine.connect() as conn:
            return list((await conn.exec_driver_sql(query)).scalars())

    async def names(self) -> list[str]:
        """The entries in the outbox, without their common beginning."""
        query = "SELECT json_extract(body, '$.name') FROM outbox ORDER BY seq"
        return [name.removeprefix("pin.entry.") for name in await self.column(query)]


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    store = await Store.open(tmp_path / "vault.db")
    yield Book(store, Keys(KeyFiles(tmp_path / "keys")))
    await store.close()


async def test_a_right_pin_takes_its_miss_back(book: Book) -> None:
    """Two misses, then right: nothing is left of them but the log."""
    await book.set("4711")
    assert [PinResult.WRONG, PinResult.WRONG] == [await book.tried(pin) for pin in ("1", "2")]
    assert 2 == (await book.pins.standing(ANNA, 3)).misses
    assert PinResult.OK is await book.tried("4711")
    assert PinStanding(set=True, locked=False, misses=0) == await book.pins.standing(ANNA, 3)
    assert ["set", "refused", "refused", "accepted"] == await book.names()
    assert {2} == set(await book.column("SELECT misses FROM pin_counts WHERE kind IN ('caller', 'tenant')"))


async def test_a_thousand_at_once_are_counted_like_one_after_the_other(book: Book) -> None:
    """Forty guesses in flight at one moment: three are compared, whoever comes first."""
    await book.set("4711")
    book.made_with(caller_misses_per_hour=0)
    tickets = [await book.ticket() for _ in range(40)]
    told = [book.told(ticket, f"{place}") for place, ticket in enumerate(tickets)]
    tries = [book.book.judge(*each, NOON_MS) for each in zip(tickets, told, strict=True)]
    answers = await asyncio.gather(*tries)
    assert (2, 38) == (answers.count(PinResult.WRONG), answers.count(PinResult.LOCKED))
    assert [3] == await book.column("SELECT misses FROM pins")


@pytest.mark.parametrize("known", [True, False])
async def test_known_and_unknown_run_the_same_statements(book: Book, known: bool) -> None:
    """Every statement of a wrong try, word for word, whoever the member is."""
    if known:
        await book.set("4711")
    await book.tried("9", member_id="mem_other")  # caches and windows are there
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(book.store.engine.sync_engine, "before_cursor_execute", note)
    assert PinResult.WRONG is await book.tried("9")
    event.remove(book.store.engine.sync_engine, "before_cursor_execute", note)
    kinds = [statement.split()[0] for statement in seen]
    assert ["SELECT", "SELECT", "SELECT", "SELECT", "INSERT", "INSERT", "INSERT"] == [
        kind for kind in kinds if kind not in {"BEGIN", "PRAGMA"}
    ]


async def test_limits_of_caller_value_and_tenant_hold_in_their_windows(book: Book) -> None:
    """Each by itself; when the hour turns there is room again, and the day's limit still holds."""
    book.made_with(caller_misses_per_hour=2, caller_misses_per_day=3, value_misses_per_hour=2, tries=10)
    await book.set("4711")
    for member in ("mem_a", "mem_b"):
        assert PinResult.WRONG is await book.tried("1", member_id=member)
    assert PinResult.WRONG is await book.tried("4711")
    assert PinResult.OK is await book.tried("4711", caller_number="+492")
    assert PinResult.WRONG is await book.tried("1", member_id="mem_c", caller_number="+493")
    book.now_ms += HOUR_S * 1000
    assert PinResult.OK is await book.tried("4711")
    assert PinResult.WRONG is await book.tried("2")
    book.now_ms += HOUR_S * 1000
    assert PinResult.WRONG is await book.tried("4711")
    reasons = "SELECT json_extract(body, '$.data.reason') FROM outbox WHERE body LIKE '%entry.limited%'"
    assert ["caller_hour", "value_hour", "caller_day"] == await book.column(reasons)
    assert [1] == await book.column("SELECT misses FROM pins WHERE member_id = 'mem_anna'")


async def test_a_member_at_home_is_not_kept_out_by_others(book: Book) -> None:
    """Where his PIN was last right neither the tenant's limit nor the value's stops him; his own do."""
    book.made_with(tenant_misses_per_hour=2, value_misses_per_hour=1)
    await book.set("4711")
    assert PinResult.OK is await book.tried("4711")
    for member in ("mem_a", "mem_b"):
        assert PinResult.WRONG is await book.tried("4711", member_id=member, caller_number=f"+{member}")
    assert PinResult.WRONG is await book.tried("4711", caller_number="+492")
    assert PinResult.WRONG is await book.tried("4711", caller_number="")
    assert PinResult.OK is await book.tried("4711")
    results = [await book.tried("9") for _ in range(3)]
    assert [PinResult.WRONG, PinResult.WRONG, PinResult.LOCKED] == results


async def test_withheld_numbers_are_one_caller(book: Book) -> None:
    """They share a limit of their own."""
    book.made_with(withheld_misses_per_hour=1)
    await book.set("4711")
    assert PinResult.WRONG is await book.tried("1", member_id="mem_a", caller_number="")
    assert PinResult.WRONG is await book.tried("4711", caller_number=" ")
    assert PinResult.OK is await book.tried("4711")


async def test_a_new_key_renews_a_hash_at_its_next_success(book: Book) -> None:
    """While one PIN is of the old pepper every cell makes two hashes; the last success ends that."""
    await book.set("4711")
    await book.set("2704", "mem_ben")
    book.keys.place.store(HMAC_NAME, 2, Secret(b"k" * HMAC_BYTES))
    book.keys.load()
    assert (await book.ticket(member_id="mem_nobody")).keys.fresh is not None
    assert PinResult.OK is await book.tried("4711")
    assert [2, 1] == await book.column("SELECT key_version FROM pins ORDER BY member_id")
    assert PinResult.WRONG is await book.tried("4712")
    assert PinResult.OK is await book.tried("4711")
    assert PinResult.OK is await book.tried("2704", member_id="mem_ben")
    assert (await book.ticket(member_id="mem_nobody")).keys.fresh is None
    assert [2, 2] == await book.column("SELECT key_version FROM pins WHERE hash IS NOT NULL")
    assert 2 <= (await book.pins.key_versions_in_use())[2]


async def test_a_dearer_hash_comes_with_the_next_success_too(book: Book) -> None:
    """A release that raises the cost needs nobody to change a PIN."""
    await book.set("4711")
    book.made_with(Cost(kib=32 * 1024))
    assert PinResult.OK is await book.tried("4711")
    assert ["1:32768:2:1"] == await book.column("SELECT scheme FROM pins")
    assert PinResult.OK is await book.tried("4711")


async def test_a_change_under_a_change_expires(book: Book) -> None:
    """Whoever keyed against the old PIN is asked again; the first change stands, no miss is counted."""
    await book.set("4711")
    first, second = await book.ticket(PinPurpose.CHANGE), await book.ticket(PinPurpose.CHANGE)
    assert PinResult.OK is await book.book.judge(first, book.told(first, "4711", "8361"), NOON_MS)
    assert PinResult.EXPIRED is await book.book.judge(second, book.told(second, "4711", "2704"), NOON_MS)
    assert PinResult.OK is await book.tried("8361")


async def test_two_first_pins_at_once_are_one(book: Book) -> None:
    """The second agent's expires."""
    tickets = [await book.ticket(PinPurpose.SET, by=AGENT) for _ in range(2)]
    results = [
        await book.book.judge(ticket, book.told(ticket, "", pin), NOON_MS)
        for ticket, pin in zip(tickets, ("4711", "8361"), strict=True)
    ]
    assert [PinResult.OK, PinResult.EXPIRED] == results
    assert PinResult.OK is await book.tried("4711")


async def test_a_row_moved_to_another_member_opens_nothing(book: Book) -> None:
    """ISO 9564: the hash is bound to the member's id."""
    await book.set("4711")
    await book.set("8361", "mem_ben")
    async with book.store.changing() as change:
        await change.conn.exec_driver_sql(
            "UPDATE pins SET (hash, salt) = (SELECT hash, salt FROM pins WHERE member_id = 'mem_anna') "
            "WHERE member_id = 'mem_ben'"
        )
    assert PinResult.WRONG is await book.tried("4711", member_id="mem_ben")
    assert PinResult.OK is await book.tried("4711")


async def test_a_reset_code_lives_ten_minutes_and_survives_a_rotation(book: Book) -> None:
    """One second later it is wrong."""
    await book.set("4711")
    code = await book.book.issue_code(ANNA, AGENT, NOON_MS)
    book.keys.place.store(HMAC_NAME, 2, Secret(b"k" * HMAC_BYTES))
    book.keys.load()
    assert PinResult.OK is await book.reset(code, "8361")
    code = await book.book.issue_code(ANNA, AGENT, NOON_MS)
    book.now_ms += CODE_LIVES_S * 1000
    assert PinResult.WRONG is await book.reset(code, "2704")
    assert PinResult.WRONG is await book.reset("12345678", "2704", member_id="mem_nobody")
    assert PinResult.OK is await book.tried("8361")


async def test_a_code_in_two_entries_at_once_is_used_once(book: Book) -> None:
    """Both are compared before either is stored: the first one's PIN stays, the second has come too late."""
    code = await book.book.issue_code(ANNA, AGENT, NOON_MS)
    answers = await asyncio.gather(book.reset(code, "8361"), book.reset(code, "2704"))
    assert {PinResult.OK, PinResult.EXPIRED} == set(answers)
    right, late = ("8361", "2704") if answers[0] is PinResult.OK else ("2704", "8361")
    assert PinResult.OK is await book.tried(right)
    assert PinResult.WRONG is await book.tried(late)


async def test_codes_for_one_member_are_limited_by_the_day(book: Book) -> None:
    """The sixth is refused; tomorrow there is one again."""
    for _ in range(CODES_PER_DAY):
        await book.book.issue_code(ANNA, AGENT, NOON_MS)
    with pytest.raises(Refused) as refused:
        await book.book.issue_code(ANNA, AGENT, NOON_MS)
    assert "pin_codes_used" == refused.value.code
    assert 8 == len(await book.book.issue_code(ANNA, AGENT, NOON_MS + DAY_S * 1000))


async def test_nothing_that_is_stored_is_a_digit_of_a_pin_or_a_number(book: Book) -> None:
    """Hashes, salts and marks are letters; the caller's number and the PIN are in no column and no entry."""
    await book.set("8361")
    await book.tried("47110815", caller_number="+4930123456")
    texts = await book.column("SELECT coalesce(hash, salt) || salt || home FROM pins")
    texts += await book.column("SELECT mark FROM pin_counts")
    assert not any(character.isdigit() for text in texts for character in text)
    bodies = " ".join(await book.column("SELECT body FROM outbox"))
    assert not any(secret in bodies for secret in ("8361", "47110815", "4930123456"))


async def test_what_is_over_is_swept(book: Book) -> None:
    """Windows and codes at their end, misses of nobodies after a year and a bit, PINs never."""
    await book.set("4711")
    await book.tried("1", member_id="mem_nobody")
    await book.book.issue_code(ANNA, AGENT, NOON_MS)
    assert 0 == await book.pins.sweep(NOON_MS)
    await book.pins.sweep(NOON_MS + DAY_S * 1000)
    assert [] == await book.column("SELECT 1 FROM pin_counts UNION SELECT 1 FROM pin_codes")
    assert 1 == await book.pins.sweep(NOON_MS + IDLE_ROWS_KEPT_S * 1000)
    assert ["mem_anna"] == await book.column("SELECT member_id FROM pins")
