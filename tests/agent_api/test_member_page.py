"""The member's own page in a real browser at a real vault: a PIN sealed there is opened in a cell alone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Page, Route

from agent_api.desk import DeskSettings
from agent_api.member_sessions import AGE_S, IDLE_S, SESSIONS_MAX, MemberSessions
from agent_api.page_words import MEMBER
from loyalty.answers import Refusal
from pay_ivr.channels import Channels, Medium, Message
from pay_ivr.people import Permission
from tests.agent_api.conftest import PASSWORD, LoyalHouse, run_desk
from tests.agent_api.test_console import barriers, listen
from tests.support.console import browser_page
from tests.support.console import log_in as console_log_in
from tests.support.members import NUMBER, POSTCODE, TENANT, enrol, programme, stock, sunny
from tests.support.pins import PinDesk, pin_desk_at
from tests.support.zone import ZoneProcesses
from vault import Door, PinPurpose, PinResult, PinSeal

PIN, NEXT_PIN = "4907", "8264"
EASY = "1234"
CODE = re.compile(r"\b\d{4} ?\d{4}\b")
LANGUAGES = ("de-DE", "en-US", "es-ES", "fr-FR")
WAIT_S = 10.0
MOVEMENTS = ("earn", "redeem", "reverse", "adjust", "expire", "move", "void")
"""Kinds of `loyalty.ledger.Movement`."""


@pytest.fixture
def faults() -> list[str]:
    """What the page itself complains of."""
    return []


async def notice(page: Page, language: str, key: str) -> str:
    """Waits until the page says this; what it says."""
    begin = MEMBER.word(language, key, **dict.fromkeys(_names(language, key), "\0")).split("\0")[0]
    await page.wait_for_function(
        "begin => document.getElementById('notice').textContent.startsWith(begin)", arg=begin
    )
    return await page.inner_text("#notice")


def _names(language: str, key: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", MEMBER.all(language)[key])


async def mailed_code(house: LoyalHouse) -> str:
    """The reset code in the message that has just been sent."""
    async with asyncio.timeout(WAIT_S):
        while not (found := list(house.messages.glob("*.json"))):  # noqa: ASYNC110 - a mailbox is looked into
            await asyncio.sleep(0.02)
    text = json.loads(found[0].read_text(encoding="utf-8"))["text"]
    code = CODE.search(text)
    assert code is not None, text
    return code.group().replace(" ", "")


async def set_pin(page: Page, house: LoyalHouse, language: str, pin: str) -> None:
    """Through the code in the mail, as a member who has none or has forgotten it."""
    await page.fill("#number", NUMBER)
    await page.click("#forgot")
    await page.click("#send-code")
    await notice(page, language, "code_on_its_way")
    await page.fill("#code", await mailed_code(house))
    await page.fill("#reset-new", pin)
    await page.fill("#reset-again", pin)
    await page.keyboard.press("Enter")


@asynccontextmanager
async def losing_answers(page: Page, name: str) -> AsyncIterator[None]:
    """The server does what is asked; what it answers is lost on the way."""

    async def lost(route: Route) -> None:
        await route.fetch()
        await route.abort()

    where = re.compile(rf"/m/{TENANT}/{name}\b")
    await page.route(where, lost)
    yield
    await page.unroute(where)


async def log_in(page: Page, pin: str) -> None:
    """By number and PIN, keyboard alone."""
    await page.fill("#number", NUMBER)
    await page.fill("#pin", pin)
    await page.keyboard.press("Enter")


@pytest.mark.slow
@pytest.mark.parametrize(
    "language",
    ["de-DE", *(pytest.param(one, marks=pytest.mark.proof) for one in ("en-US", "es-ES", "fr-FR"))],
)
async def test_a_member_does_everything_alone(
    loyal_house: LoyalHouse, faults: list[str], tmp_path: Path, language: str
) -> None:
    """First PIN, login, balance, voucher, donation, lost card, new PIN; nothing keeps anybody out."""
    member = await enrol(loyal_house.loyalty, points=1_000)
    await stock(loyal_house.loyalty)
    found: dict[str, list[str]] = {}
    async with browser_page(f"{loyal_house.desk.url}/m/{TENANT}?lang={language}", locale=language) as page:
        listen(page, faults)
        assert language == await page.get_attribute("html", "lang")

        async def look(state: str) -> None:
            await page.screenshot(path=tmp_path / f"{state}.png", full_page=True)
            found[state] = await barriers(page)

        await look("login")
        await set_pin(page, loyal_house, language, EASY)
        await notice(page, language, "pin_easy")
        await look("reset")
        await page.fill("#code", await mailed_code(loyal_house))
        await page.fill("#reset-new", PIN)
        await page.fill("#reset-again", PIN)
        await page.keyboard.press("Enter")
        await notice(page, language, "pin_changed")
        await log_in(page, PIN)
        await notice(page, language, "welcome")
        assert ["1", "0", "0", "0"] == re.findall(r"\d", await page.inner_text("#points"))
        await look("account")
        await page.click("#rewards li:nth-child(2) button")
        await look("confirm")
        async with losing_answers(page, "redeem"):
            await page.click("#confirm-yes")
            await notice(page, language, "busy")
        assert 800 == (await loyal_house.loyalty.balance(TENANT, member.member_id)).available
        await page.reload()
        await page.click("#rewards li:nth-child(2) button")
        await page.click("#confirm-yes")
        assert re.search(r"CAFE\d{4}", await notice(page, language, "redeemed"))
        await page.click("#rewards li:nth-child(1) button")
        await page.click("#confirm-yes")
        await notice(page, language, "donated")
        assert 300 == (await loyal_house.loyalty.balance(TENANT, member.member_id)).available
        assert "300" == await page.inner_text("#points")
        assert 2 == await page.locator("#redemptions li").count()
        await look("redeemed")
        await page.click("#lock-card")
        await page.click("#confirm-yes")
        await notice(page, language, "card_locked")
        assert await page.locator("#rewards button:not(:disabled)").count() == 0
        for field, pin in {"old": PIN, "new": NEXT_PIN, "again": NEXT_PIN}.items():
            await page.fill(f"#pin-{field}", pin)
        await page.keyboard.press("Enter")
        await notice(page, language, "pin_changed")
        await log_in(page, NEXT_PIN)
        await notice(page, language, "welcome")
        await look("locked")
    assert {state: [] for state in found} == found
    assert [] == faults


@pytest.mark.slow
async def test_wrong_and_unknown_are_one_answer_and_then_locked(loyal_house: LoyalHouse) -> None:
    """Three misses lock a member and a number that is nobody's alike; the sealed bytes hold no digit."""
    await enrol(loyal_house.loyalty)
    sent: list[str] = []
    async with browser_page(f"{loyal_house.desk.url}/m/{TENANT}?lang=en-US") as page:
        page.on("request", lambda request: sent.append(request.post_data or ""))
        await set_pin(page, loyal_house, "en-US", PIN)
        await notice(page, "en-US", "pin_changed")
        for number in (NUMBER, "99887766"):
            for key in ("login_failed", "login_failed", "pin_locked"):
                await page.fill("#number", number)
                await page.fill("#pin", "7391")
                await page.evaluate("document.getElementById('notice').textContent = ''")
                await page.keyboard.press("Enter")
                await notice(page, "en-US", key)
        assert "" == await page.input_value("#pin")
        await page.evaluate("document.getElementById('notice').textContent = ''")
        await log_in(page, PIN)
        await notice(page, "en-US", "pin_locked")
    assert not any(PIN in body or "7391" in body for body in sent)


@pytest.mark.slow
async def test_a_birth_date_that_fits_two_asks_for_the_house_number(loyal_house: LoyalHouse) -> None:
    """F7: and only then; the answer to anybody else is the neutral one."""
    await enrol(loyal_house.loyalty)
    await enrol(loyal_house.loyalty, number="4711002", house_number="7")
    async with browser_page(f"{loyal_house.desk.url}/m/{TENANT}?lang=en-US") as page:
        await page.check("input[value=birth]")
        assert not await page.is_visible("#house_number")
        await page.fill("#postcode", POSTCODE)
        await page.fill("#born", "1980-12-31")
        await page.fill("#pin", "7391")
        await page.click("#login-form .main")
        await notice(page, "en-US", "ask_house_number")
        await page.fill("#house_number", "7")
        await page.fill("#pin", "7391")
        await page.click("#login-form .main")
        await notice(page, "en-US", "login_failed")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("login", {"number": NUMBER, "key_id": "k", "challenge": "AAAA", "sealed": "AAAA"}),
        ("reset", {"number": NUMBER, "key_id": "k", "challenge": "AAAA", "sealed": "AAAA"}),
        ("pin", {"key_id": "k", "challenge": "AAAA", "sealed": "AAAA"}),
        ("redeem", {"reward_id": "coffee", "key": "a" * 20}),
        ("card-lock", {}),
    ],
)
async def test_nothing_opens_without_a_login_or_a_sound_seal(
    loyal_house: LoyalHouse, name: str, body: dict[str, str]
) -> None:
    """Foreign sites, missing logins and seals that are none: refused, nothing changed."""
    member = await enrol(loyal_house.loyalty)
    path = f"/m/{TENANT}/{name}"
    own = {"Origin": loyal_house.desk.url, "Sec-Fetch-Site": "same-origin"}
    for headers in ({"Origin": "https://evil.example"}, {}, {**own, "Sec-Fetch-Site": "cross-site"}):
        assert 403 == (await loyal_house.post(path, body, **headers)).status
    refused = await loyal_house.post(path, body, **own)
    assert refused.status in {401, 403, 503}, await refused.text()
    assert "ok" != (await refused.json())["code"]
    seen = await loyal_house.loyalty.members.get(TENANT, member.member_id)
    assert ("active", "active") == (seen.status.value, seen.card_state.value)


async def test_a_pin_renewed_on_the_telephone_ends_logins_on_the_web(
    loyal_house: LoyalHouse, zone: ZoneProcesses
) -> None:
    """Keyed by the member or unlocked by an agent: what was open is closed at once."""
    member = await enrol(loyal_house.loyalty)
    desk, key = loyal_house.desk, await loyal_house.key(Permission.MEMBERS)
    facts = asyncio.create_task(desk.board.follow_pins(desk.door))

    async def account(cookie: str) -> int:
        return (await loyal_house.get(f"/m/{TENANT}/account", Cookie=cookie)).status

    async with pin_desk_at(zone) as phone:
        await phone.member_with(PIN, member.member_id)
        by_web = await web_login(loyal_house, phone, PIN)
        assert PinResult.OK is await phone.keyed(f"{PIN}#", PinPurpose.VERIFY, member.member_id)
        assert 200 == await account(by_web)
        change = f"{PIN}#{NEXT_PIN}#{NEXT_PIN}#"
        assert PinResult.OK is await phone.keyed(change, PinPurpose.CHANGE, member.member_id)
        async with asyncio.timeout(WAIT_S):
            while 401 != await account(by_web):  # noqa: ASYNC110 - another door is told, a little later
                await asyncio.sleep(0.02)
        by_web = await web_login(loyal_house, phone, NEXT_PIN)
        assert 200 == await account(by_web)
        unlocked = await loyal_house.post(f"/v1/members/{member.member_id}/pin/unlock", **key)
        assert (200, 401) == (unlocked.status, await account(by_web))
    facts.cancel()
    await asyncio.gather(facts, return_exceptions=True)


async def web_login(house: LoyalHouse, phone: PinDesk, pin: str) -> str:
    """The cookie of a member who has just logged in; the PIN is sealed as his browser would."""
    asked = await house.post(f"/m/{TENANT}/seal", **house.desk.own)
    seal = PinSeal(**await asked.json())
    sealed = {"key_id": seal.key_id, "challenge": seal.challenge, "sealed": phone.blob(seal, pin)}
    answer = await house.post(f"/m/{TENANT}/login", {"number": NUMBER, **sealed}, **house.desk.own)
    assert 200 == answer.status, await answer.text()
    return answer.headers["Set-Cookie"].partition(";")[0]


async def test_the_page_works_behind_a_proxy_that_changes_the_host(
    grown: tuple[Path, dict[str, str]], short_dir: Path
) -> None:
    """The origins of the settings are ours; a foreign one, one that is none and a missing one are not."""
    settings = DeskSettings(public_origin="https://desk.example", link_origin="https://pay.example")
    async with sunny(short_dir) as loyalty, run_desk(grown, short_dir, settings, loyalty=loyalty) as house:
        ours = ("https://desk.example", "https://pay.example", house.url)
        seen = {}
        for origin in (*ours, "https://evil.example", "http://[", "null", ""):
            headers = {"Origin": origin} if origin else {}
            answer = await house.http.post(f"{house.url}/m/{TENANT}/logout", json={}, headers=headers)
            seen[origin] = answer.status
    foreign = dict.fromkeys(("https://evil.example", "http://[", "null", ""), 403)
    assert dict.fromkeys(ours, 200) | foreign == seen


class StuckChannel:
    """A mail host that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended = False

    async def send(self, _message: Message) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_a_message_under_way_does_not_outlive_the_desk(
    grown: tuple[Path, dict[str, str]], short_dir: Path, zone: ZoneProcesses
) -> None:
    """What goes on after its answer ends with the desk: no task is left to run on closed databases."""
    door, stuck = Door(zone.run_dir / "vault.sock"), StuckChannel()
    await door.connect()
    told = programme(reset_by=(Medium.EMAIL,))
    channels = Channels({TENANT: {Medium.EMAIL: stuck}})
    async with sunny(short_dir, told, door=door, channels=channels) as loyalty:
        await enrol(loyalty, points=0)
        async with run_desk(grown, short_dir, door=door, loyalty=loyalty) as house:
            path = f"{house.url}/m/{TENANT}/reset-code"
            answer = await house.http.post(path, json={"number": NUMBER}, headers=house.own)
            assert {"code": "code_on_its_way"} == await answer.json()
            async with asyncio.timeout(WAIT_S):
                await stuck.asked.wait()
            assert not stuck.ended
        assert stuck.ended
    await door.close()


async def test_a_tenant_without_a_programme_has_no_page(loyal_house: LoyalHouse) -> None:
    """Nor has a tenant who does not exist."""
    for tenant in ("other", "nobody"):
        assert 404 == (await loyal_house.get(f"/m/{tenant}")).status


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"number": 5}', b'{"number": "12345678901"}', b'{"x": 1}', b"\xff"]
)
async def test_a_malformed_form_is_refused(loyal_house: LoyalHouse, body: bytes) -> None:
    """A problem document, nothing else."""
    headers = {"Origin": loyal_house.desk.url, "Content-Type": "application/json"}
    answer = await loyal_house.desk.http.post(
        f"{loyal_house.desk.url}/m/{TENANT}/reset-code", data=body, headers=headers
    )
    assert answer.status in {400, 422}
    assert "application/problem+json" == answer.headers["Content-Type"]


def test_every_language_has_every_text_of_the_page() -> None:
    """Same keys, same values, nothing empty; every refusal and every kind of movement has its words."""
    english = MEMBER.all("en-US")
    assert LANGUAGES == MEMBER.languages()
    for language in LANGUAGES:
        texts = MEMBER.all(language)
        assert set(english) == set(texts)
        assert all(text.strip() for text in texts.values())
        assert {key: _names("en-US", key) for key in texts} == {
            key: sorted(_names(language, key), key=_names("en-US", key).index) for key in texts
        }
    may_be_met = {
        Refusal.INSUFFICIENT, Refusal.CARD_LOCKED, Refusal.MEMBER_LOCKED, Refusal.LIMIT_REACHED,
        Refusal.OUT_OF_STOCK, Refusal.LATER, Refusal.REWARD_UNKNOWN, Refusal.PROVIDER_REFUSED,
    }  # fmt: skip
    assert {f"redeem_{one.value}" for one in may_be_met} <= set(english)
    assert {f"movement_{kind}" for kind in MOVEMENTS} <= set(english)


def test_a_login_ends_by_itself_and_for_its_tenant_alone() -> None:
    """Idle, old, closed, pushed out; and no other tenant's page opens it."""
    logins = MemberSessions()
    first = logins.open("demo", "mem_a", 0.0)
    assert logins.find("other", first, 1.0) is None
    assert logins.find("demo", first, IDLE_S) is not None
    assert logins.find("demo", first, 2 * IDLE_S + 1) is None
    busy, now = logins.open("demo", "mem_a", 0.0), 0.0
    while now <= AGE_S:
        assert logins.find("demo", busy, now) is not None
        now += IDLE_S / 2
    assert logins.find("demo", busy, now) is None
    kept = [logins.open("demo", "mem_b", 0.0) for _ in range(2)]
    logins.close_all("demo", "mem_b")
    assert [None, None] == [logins.find("demo", one, 1.0) for one in kept]
    oldest = logins.open("demo", "mem_c", 0.0)
    for _ in range(SESSIONS_MAX):
        logins.open("demo", "mem_d", 0.0)
    assert logins.find("demo", oldest, 1.0) is None


@pytest.mark.slow
async def test_the_agent_sees_whom_the_portal_has_logged_in(
    loyal_house: LoyalHouse, faults: list[str], tmp_path: Path
) -> None:
    """Name, points and what was tried stand at the console; the card is locked with a second press."""
    house = loyal_house.desk
    member = await enrol(loyal_house.loyalty, points=1_200)
    async with browser_page(house.url) as page:
        listen(page, faults)
        await console_log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        call = house.board.bridge(TENANT, "agent1")
        context = {
            "member": member.member_id,
            "topic": "redeem",
            "tried": "balance,redeem",
            "language": "de-DE",
        }
        house.board.change(replace(call, context=context), "call.bridge.opened")
        await page.wait_for_function("() => document.getElementById('member-points').textContent !== ''")
        assert f"Anna Muster ({NUMBER})" == await page.inner_text("#member-name")
        assert "1,200 points" == await page.inner_text("#member-points")
        assert "Balance, Redeem points" == await page.inner_text("#member-tried")
        await page.screenshot(path=tmp_path / "console.png", full_page=True)
        assert [] == await barriers(page)
        await page.click("#member-lock")
        await page.click("#member-lock")
        await page.wait_for_function("() => document.getElementById('member-said').textContent !== ''")
    locked = await loyal_house.loyalty.members.get(TENANT, member.member_id)
    assert ("locked", []) == (locked.card_state.value, faults)
