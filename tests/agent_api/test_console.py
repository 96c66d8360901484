"""The console in a real browser at a real desk: states, keys, reconnecting, and what the page may not do."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page

from agent_api.console import FOLDER
from agent_api.labels import label_languages, labels_of
from agent_api.problems import PROBLEMS
from pay_ivr.catalogue import Catalogue
from pay_ivr.facts import CallView
from tests.agent_api.conftest import PASSWORD, DeskHouse
from tests.support.console import (
    barriers,
    browser_page,
    fill_payment,
    log_in,
    picture,
    reach,
    wait_text,
    wait_view,
)
from vault import Decline, DeclineReason, FieldProblem, NextStep, PaymentState

NEVER_AT_THE_CONSOLE = {
    # An integrator's or a programmer's mistake; the page cannot send it.
    "access_key_refused", "amount_malformed", "amount_negative", "amount_zero", "body_too_large",
    "codes_exceeded", "idempotency_key_needed", "json_needed", "language_unknown", "login_needed",
    "malformed_json", "method_not_allowed", "not_for_access_keys", "not_for_agents", "origin_foreign",
    "password_change_needed", "query_invalid", "request_invalid", "route_unknown", "streams_exceeded",
    "upgrade_needed",
    # Met by integrators' programs and providers; the console's buttons leave no room for them.
    "ask_key_needed", "ask_key_reused", "card_missing", "links_off", "mit_off", "options_contradict",
    "delivery_unknown", "reason_unknown", "void_is_whole", "webhook_invalid", "webhook_too_large",
    "webhook_unknown", "webhooks_busy",
    # Members and points beyond what the console's panel asks for.
    "already_reversed", "database_conflict", "key_reused", "ledger_late", "ledger_stalled",
    "member_address_missing", "member_card_locked", "member_locked", "member_search_empty",
    "needs_second_person",
    "number_taken", "numbers_used_up", "payout_decided", "payout_off", "payout_same_person", "person_invalid",
    "pin_codes_used", "pin_needs_agent", "pin_unknown", "points_insufficient", "points_wrong",
    "posting_not_reversible", "posting_unknown", "reason_malformed", "receipt_used", "redemption_later",
    "redemption_moved",
    "reset_code_unsent", "reward_limit_reached", "reward_out_of_stock", "reward_unknown", "voucher_refused",
}  # fmt: skip


@pytest.fixture
def faults() -> list[str]:
    """What the page itself complains of: policy violations and uncaught errors."""
    return []


def listen(page: Page, faults: list[str]) -> None:
    """Collects the page's faults; refused requests are the test's own doing."""
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda line: (
            faults.append(line.text)
            if line.type == "error" and "Failed to load resource" not in line.text
            else None
        ),
    )


def only_payment(house: DeskHouse, call_id: str) -> str:
    """The id of the call's newest payment."""
    return house.board.payments_of(call_id)[-1].payment_id


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_whole_payment_goes_by_keyboard_only(house: DeskHouse, faults: list[str]) -> None:
    """Log-in, form, capture, wrong key, talk, decline, retry, approval: no mouse, no fault of the page."""
    house.clock.now = time.time()
    async with browser_page(house.url) as page:
        listen(page, faults)
        await log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        await wait_view(page, "idle")
        call = house.board.bridge("demo", "agent1")
        await wait_view(page, "talking")
        await fill_payment(page, "19.95", "INV 2042")
        await reach(page, "start")
        await page.keyboard.press("Enter")
        await wait_view(page, "capturing")
        await wait_text(page, "#hearing", "Protected")
        payment_id = only_payment(house, call.call_id)
        assert house.board.payment(payment_id).amount_minor == 1995
        for _ in range(5):
            house.board.key(payment_id)
        await wait_text(page, ".field.open .hear-only", "5 digits")
        house.board.finish_field(payment_id, FieldProblem.LUHN)
        await page.wait_for_selector(".field.wrong .field-problem")
        assert await page.is_disabled("#charge")
        await page.keyboard.press("Alt+t")
        await wait_text(page, "#talk", "(15 s)")
        await page.keyboard.press("Alt+t")
        await wait_text(page, "#hearing", "Protected")
        house.board.hurry(payment_id)
        house.board.bank = Decline(DeclineReason.FUNDS, NextStep.OTHER_CARD, retry_allowed=True)
        await page.wait_for_selector("#charge:enabled")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector("#result[data-state=declined]")
        words = Catalogue().text("en-US", "desk_say_funds")
        assert await page.inner_text("#say-text") == words
        await page.keyboard.press("Alt+r")
        await page.wait_for_selector(".field.open")
        house.board.hurry(payment_id)
        house.board.bank = PaymentState.AUTHORISED
        await page.wait_for_selector("#charge:enabled")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector("#result[data-state=authorised]")
        await wait_text(page, "#result-reason", "2047 1183")
    assert faults == []


AT_REST = "document.getAnimations().every((one) => one.playState !== 'running')"


class Inspection:
    """Every state of the page, looked at by axe-core; a picture of each for people."""

    def __init__(self, page: Page, house: DeskHouse, folder: Path) -> None:
        self.found: dict[str, list[str]] = {}
        self._page = page
        self._house = house
        self._folder = folder

    async def look(self, state: str) -> None:
        """The page as it is now, in light, then its contrast in dark; movement has come to rest."""
        await self._page.wait_for_function(AT_REST)
        page = self._page
        await picture(page, self._folder, f"{len(self.found):02d}-{state}")
        light = await barriers(page)
        await page.emulate_media(color_scheme="dark")
        self.found[state] = light + [f"dark {one}" for one in await barriers(page, "color-contrast")]
        await page.emulate_media(color_scheme="light")

    async def before_a_call(self) -> None:
        """Log-in, the first password, an empty desk."""
        page, house = self._page, self._house
        await page.wait_for_selector("#login-form:visible")
        await self.look("login")
        for text in ("agent1", house.one_time["agent1"]):
            await page.keyboard.type(text)
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#new-password:visible")
        await self.look("first-password")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#link[data-live=true]")
        await self.look("idle")

    async def call_and_form(self) -> CallView:
        """Everything that the call's card can show, and a form that is refused."""
        page, house = self._page, self._house
        call = house.board.bridge("demo", "agent1")
        await wait_view(page, "talking")
        await self.look("talking")
        alarmed = replace(call, speaking=True, keying_outside_capture=True, audio_lost=True)
        house.board.change(alarmed, "call.keys.noticed")
        await page.wait_for_selector("#audio-lost:visible")
        await self.look("alarms")
        house.board.change(call, "call.audio.returned")
        await fill_payment(page, "19.95.", "INV 2042")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector("#alert:visible")
        await self.look("refused-form")
        await reach(page, "amount")
        await page.keyboard.press("Backspace")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector(".field.open")
        return call

    async def capture(self, payment_id: str) -> None:
        """Keys, a wrong PAN, the talk button, a first press, all fields complete."""
        page, board = self._page, self._house.board
        board.key(payment_id)
        await wait_text(page, ".field.open .hear-only", "1 digit")
        await self.look("capturing")
        board.finish_field(payment_id, FieldProblem.LUHN)
        await page.wait_for_selector(".field.wrong .field-problem")
        await self.look("wrong-field")
        await page.keyboard.press("Alt+t")
        await page.wait_for_selector("#notice:visible")
        await self.look("talk")
        await page.keyboard.press("Alt+t")
        await page.keyboard.press("Alt+x")
        await page.wait_for_selector("#cancel[data-armed=true]")
        await self.look("first-press")
        await page.keyboard.press("Escape")

    async def result(self, payment_id: str, outcome: Decline | PaymentState, state: PaymentState) -> None:
        """The charge and what it came to."""
        page, board = self._page, self._house.board
        board.hurry(payment_id)
        board.bank = outcome
        await page.wait_for_selector("#charge:enabled")
        await self.look(f"ready-for-{state}")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector(f"#result[data-state={state}]")
        await self.look(str(state))


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.proof
async def test_no_state_of_the_page_keeps_anybody_out(house: DeskHouse, tmp_path: Path) -> None:
    """axe-core finds nothing serious or critical, contrast included, in either scheme."""
    house.clock.now = time.time()
    async with browser_page(house.url) as page:
        seen = Inspection(page, house, tmp_path)
        await seen.before_a_call()
        call = await seen.call_and_form()
        payment_id = only_payment(house, call.call_id)
        await seen.capture(payment_id)
        no_funds = Decline(DeclineReason.FUNDS, NextStep.OTHER_CARD, retry_allowed=True)
        await seen.result(payment_id, no_funds, PaymentState.DECLINED)
        await page.keyboard.press("Alt+r")
        await page.wait_for_selector(".field.open")
        await seen.result(payment_id, PaymentState.AUTHORISED, PaymentState.AUTHORISED)
        house.board.end(call.call_id)
        await wait_text(page, "#call-state", "Ended")
        await seen.look("ended")
    assert {state: [] for state in seen.found} == seen.found
    assert 15 == len(seen.found)


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_cancel_and_hang_up_want_a_second_press(house: DeskHouse, faults: list[str]) -> None:
    """One slip does not end a capture or a call; Escape takes the first press back."""
    async with browser_page(house.url) as page:
        listen(page, faults)
        await log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        call = house.board.bridge("demo", "agent1")
        await fill_payment(page, "5", "INV 1")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector(".field.open")
        payment_id = only_payment(house, call.call_id)
        await page.keyboard.press("Alt+x")
        await page.wait_for_selector("#cancel[data-armed=true]")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#cancel[data-armed=false]")
        assert house.board.payment(payment_id).state is PaymentState.CAPTURING
        await page.keyboard.press("Alt+x")
        await page.keyboard.press("Alt+x")
        await page.wait_for_selector("#result[data-state=cancelled]")
        await page.keyboard.press("Alt+h")
        await page.keyboard.press("Alt+h")
        await wait_text(page, "#call-state", "Ended")
    assert faults == []
    assert house.board.call(call.call_id).ended_reason == "desk_hung_up"


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_first_press_does_not_outlive_its_call(house: DeskHouse, faults: list[str]) -> None:
    """Hang-up is armed, the caller goes, the next one comes: one press must not hang up on him."""
    async with browser_page(house.url) as page:
        listen(page, faults)
        await log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        first = house.board.bridge("demo", "agent1", caller="4930555010")
        await wait_text(page, "#caller", "4930555010")
        await page.keyboard.press("Alt+h")
        await page.wait_for_selector("#hang-up[data-armed=true]")
        house.board.end(first.call_id)
        second = house.board.bridge("demo", "agent1", caller="4930555020")
        await wait_text(page, "#caller", "4930555020")
        await page.wait_for_selector("#hang-up[data-armed=false]")
        await page.keyboard.press("Alt+h")
        await page.wait_for_selector("#hang-up[data-armed=true]")
    assert house.board.call(second.call_id).ended_reason is None
    assert faults == []


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_console_that_was_cut_off_shows_what_it_missed(house: DeskHouse, faults: list[str]) -> None:
    """The socket is gone in the middle of a capture; the page says so and comes back complete."""
    async with browser_page(house.url) as page:
        listen(page, faults)
        await log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        call = house.board.bridge("demo", "agent1")
        await fill_payment(page, "5", "INV 1")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector(".field.open")
        await page.context.set_offline(True)
        for socket in open_sockets(house):
            await socket.close()
        await page.wait_for_selector("#link[data-live=false]")
        house.board.hurry(only_payment(house, call.call_id))
        assert await page.is_disabled("#charge")
        await page.context.set_offline(False)
        await page.wait_for_selector("#link[data-live=true]")
        await page.wait_for_selector("#charge:enabled")
    assert [fault for fault in faults if "WebSocket" not in fault] == []


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_the_page_shows_the_alarm_and_the_speaking_lamp(house: DeskHouse, faults: list[str]) -> None:
    """Keys outside a capture are alarmed in words; the lamp has a word as well, in the agent's language."""
    async with browser_page(house.url, locale="de-DE") as page:
        listen(page, faults)
        await log_in(page, "agent2", house.one_time["agent2"], PASSWORD)
        call = house.board.bridge("demo", "agent2", language="es-ES")
        house.board.change(replace(call, speaking=True, keying_outside_capture=True), "call.keys.noticed")
        await wait_text(page, "#alarm", "Erfassung starten")
        await wait_text(page, "#lamp-text", "Anrufer spricht")
        house.board.change(replace(call, audio_lost=True), "call.audio.lost")
        await wait_text(page, "#audio-lost", "kein Ton")
        assert [False, False] == [await page.is_visible(one) for one in ("#lamp", "#hearing")]
        house.board.change(call, "call.audio.returned")
        await page.wait_for_selector("#audio-lost", state="hidden")
        assert await page.get_attribute("html", "lang") == "de-DE"
        refused = await page.evaluate(
            "() => { try { document.body.innerHTML = '<b>x</b>'; return '' } catch (e) { return e.name } }"
        )
        stored = await page.evaluate(
            "() => localStorage.length + sessionStorage.length + document.cookie.length"
        )
    assert refused == "TypeError"
    assert stored == 0
    assert [fault for fault in faults if "TrustedHTML" not in fault] == []


def open_sockets(house: DeskHouse) -> list[web.WebSocketResponse]:
    """The desk's ends of all consoles."""
    return [socket for feed in house.streams._feeds.values() for socket in feed.consoles]


def test_every_language_has_every_text_of_the_page() -> None:
    """Same keys, same variables, nothing empty; callers hear each of them, agents need not speak all."""
    english = labels_of("en-US")
    assert {"de-DE", "en-US", "es-ES", "fr-FR"} == set(label_languages()) <= set(Catalogue().tags)
    for language in label_languages():
        texts = labels_of(language)
        assert set(texts) == set(english)
        for key, text in texts.items():
            assert text.strip() == text != ""
            assert _variables(text) == _variables(english[key])


def _variables(text: str) -> set[str]:
    return {part.partition("}")[0] for part in text.split("{")[1:]}


def test_every_problem_that_an_agent_can_meet_is_said_in_his_language() -> None:
    """Never an error without a next step, in his own words."""
    said = {key.removeprefix("problem_") for key in labels_of("en-US") if key.startswith("problem_")}
    assert said | NEVER_AT_THE_CONSOLE == set(PROBLEMS) | {"desk_unreached"}
    assert said & NEVER_AT_THE_CONSOLE == set()


def test_the_page_uses_only_texts_that_exist() -> None:
    """Every data-label and every say("…") of the page has its text."""
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js"))
    used = {piece.partition('"')[0] for piece in page.split('data-label="')[1:]}
    used |= {piece.partition('"')[0] for piece in page.split('data-sure="')[1:]}
    used |= {piece.partition('"')[0] for piece in scripts.split('say("')[1:]} - {"desk_field_"}
    known = set(labels_of("en-US")) | set(Catalogue().labels("en-US"))
    assert used - known == set()


async def test_nothing_but_the_consoles_files_can_be_fetched(house: DeskHouse) -> None:
    """No path leads out of the folder; the files tell the browser to check each time."""
    for path in ("/console/../problems.py", "/console/%2e%2e/problems.py", "/console/", "/console/labels"):
        assert (await house.http.get(house.url + path)).status == 404
    page = await house.http.get(house.url + "/")
    again = await house.http.get(house.url + "/", headers={"If-None-Match": page.headers["ETag"]})
    assert "require-trusted-types-for 'script'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-cache"
    assert (page.status, again.status) == (200, 304)
    for language in label_languages():
        file = await house.http.get(f"{house.url}/console/labels/{language}.json")
        assert json.loads(await file.text()) == labels_of(language)


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_an_agent_whose_line_dropped_sees_what_the_system_does(
    house: DeskHouse, faults: list[str]
) -> None:
    """No button that could only be refused, no claim to hear the caller, and the rule of key 1 in words."""
    async with browser_page(house.url) as page:
        listen(page, faults)
        await log_in(page, "agent1", house.one_time["agent1"], PASSWORD)
        call = house.board.bridge("demo", "agent1")
        await fill_payment(page, "5", "INV 1")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector(".field.open")
        house.board.key(only_payment(house, call.call_id))
        house.board.change(replace(call, state="agent_lost"), "call.agent.lost")
        await wait_text(page, "#notice", "key 1")
        for hidden in ("#hearing", "#talk", "#alarm", "#charge", ".field button"):
            await page.wait_for_selector(hidden, state="hidden")
    assert faults == []
