"""Two tenants with equal members: whatever is asked of one, nothing of the other answers."""

import asyncio
import inspect
import io
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.database import Database
from loyalty.errors import LoyaltyError
from loyalty.keys import Keys
from loyalty.members import Claim, Members, Role
from loyalty.members.dossier import NOBODY, call_ids, dossier
from tests.loyalty.members.conftest import PROGRAMMES, person

BY = "agent:anna"
TENANTS = ("sunny", "rainy")
BORN = date(1980, 12, 31)
WRITES = {
    "change", "close_member", "enrol", "erase", "finish_erasures", "import_csv", "lock", "lock_card",
    "replace_card", "seal", "unlock", "unlock_card",
}  # fmt: skip
TOOLS = {"note", "now", "programme", "read", "register", "write"}
READS = {
    "changes", "claim_by_birth", "claim_by_number", "closed_before", "export_csv", "gdpr_export", "get",
    "open", "person",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(empty_database: Path) -> Iterator[tuple[asyncio.Runner, Members, Path]]:
    """One database for all examples: what earlier ones left behind makes the later ones harder."""
    folder = Path(tempfile.mkdtemp(prefix="payivr-"))
    shutil.copy(empty_database, folder / "loyalty.db")
    with asyncio.Runner() as runner:
        database = Database.open(folder / "loyalty.db")
        yield runner, Members(database, Keys.open(folder, {}), PROGRAMMES), folder
        runner.run(database.close())
    shutil.rmtree(folder)


def test_every_public_method_is_a_read_below_or_writes():
    """A new method has to be put into one of the lists, and a read below."""
    public = {name for name, _ in inspect.getmembers(Members, callable) if not name.startswith("_")}
    assert public == READS | WRITES | TOOLS


numbers = st.sampled_from(["100001", "100002", "100003", "100004"])
acts = st.sampled_from(["enrol", "replace", "change", "close", "erase", "lock"])
steps = st.lists(st.tuples(st.sampled_from(TENANTS), acts, numbers), max_size=8)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_no_read_crosses(world: tuple[asyncio.Runner, Members, Path], done: list[tuple[str, str, str]]):
    """Equal numbers, equal births, equal cards: every read of one tenant knows his own members only."""
    runner, members, folder = world
    runner.run(_example(members, folder, done))


async def _example(members: Members, folder: Path, done: list[tuple[str, str, str]]) -> None:
    for tenant, act, number in done:
        await _act(members, tenant, act, number)
    own = {tenant: await _ids(members, tenant) for tenant in TENANTS}
    assert not set(own["sunny"].values()) & set(own["rainy"].values())
    closed = {tenant: set(await members.closed_before(tenant, members.now())) for tenant in TENANTS}
    assert not closed["sunny"] & closed["rainy"]
    for tenant, other in (TENANTS, TENANTS[::-1]):
        for number in ("100001", "100002", "100003", "100004"):
            claim = await members.claim_by_number(tenant, number)
            assert own[tenant].get(number) == (claim.member_id if claim.known else None)
        birth = await members.claim_by_birth(tenant, "80331", BORN)
        assert not isinstance(birth, Claim) or not birth.known or birth.member_id in own[tenant].values()
        for member_id in (*own[other].values(), *closed[other]):
            for asked in _reads_of(members, tenant, member_id, folder):
                await _is_unknown(asked)


async def _act(members: Members, tenant: str, act: str, number: str) -> None:
    """One step; what is not possible now is left out."""
    claim = await members.claim_by_number(tenant, number)
    if act == "enrol" and not claim.known:
        card = f"9{number}"
        taken = (await members.claim_by_number(tenant, card)).known
        try:
            await members.enrol(tenant, person(number=number), by=BY, card_number="" if taken else card)
        except LoyaltyError as refused:
            assert "number_taken" == refused.code  # noqa: PT017
    if not claim.known:
        return
    if act == "replace":
        await members.replace_card(tenant, claim.member_id, by=BY, reason="lost")
    if act == "change":
        await members.change(tenant, claim.member_id, {"house_number": number[-1]}, by=BY)
    if act == "lock":
        await members.lock_card(tenant, claim.member_id, by=BY, reason="lost")
    if act == "close":
        await members.close_member(tenant, claim.member_id, by=BY)
    if act == "erase":
        await members.erase(tenant, claim.member_id, BY)


async def _ids(members: Members, tenant: str) -> dict[str, str]:
    """Number -> id of the tenant's members, from its export and its own reads."""
    out = io.BytesIO()
    await members.export_csv(tenant, out, by=BY)
    found = {}
    for row in out.getvalue().decode().splitlines()[1:]:
        number = row.split(",")[0]
        claim = await members.claim_by_number(tenant, number)
        assert tenant == (await members.get(tenant, claim.member_id)).tenant
        assert number == (await members.person(tenant, claim.member_id)).number
        found[number] = claim.member_id
    return found


def _reads_of(
    members: Members, tenant: str, member_id: str, folder: Path
) -> list[Callable[[], Awaitable[object]]]:
    """Every read that takes an id, asked for somebody of the other tenant."""
    return [
        lambda: members.get(tenant, member_id, role=Role.LEGAL),
        lambda: members.person(tenant, member_id, role=Role.LEGAL),
        lambda: members.changes(tenant, member_id),
        lambda: members.gdpr_export(tenant, member_id, folder / "out", by=BY),
        lambda: dossier(members, tenant, member_id, NOBODY),
        lambda: call_ids(members, tenant, member_id),
        lambda: members.database.read(tenant, lambda conn: members.open(conn, member_id, "person", b"")),
    ]


async def _is_unknown(asked: Callable[[], Awaitable[object]]) -> None:
    try:
        found = await asked()
    except LoyaltyError as refused:
        assert "member_unknown" == refused.code  # noqa: PT017
    else:
        assert () == found  # no changes of nobody
