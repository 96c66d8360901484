"""The console on a real node: two phones, a browser, and a card that nobody at the desk sees."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from pay_ivr.proof.sip_phone import SipPhone
from pay_ivr.proof.stage import Stage
from tests.support.console import browser_page, fill_payment, log_in, wait_text, wait_view

TENANTS = Path(__file__).parents[2] / "infra" / "tenants"
NUMBER = "4930100001"
CALLER = "4915112345678"
VISA, NO_FUNDS = "4242424242424242", "4000000000009995"
FIELD_TIMEOUT_MS = 30_000
"""The next field opens when its prompt begins; prompts of a cold node may still be rendering."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A node of its own: all processes, loopback, dynamic ports."""
    node = await Stage(tmp_path, TENANTS).start("demo")
    yield node
    assert node.stop() == 0


@pytest.fixture
async def phones(stage: Stage) -> AsyncIterator[tuple[SipPhone, SipPhone]]:
    """The caller's phone, and the agent's, registered."""
    caller, agent = SipPhone(CALLER, seed=3), SipPhone("agent1", seed=4)
    for phone in (caller, agent):
        await phone.open(int(stage.facts["sip_udp_port"]))
    await agent.register(stage.logins["agent1"].phone_password)
    yield caller, agent
    for phone in (caller, agent):
        phone.close()


async def key_card(page: Page, caller: SipPhone, pan: str) -> None:
    """The caller keys each field when the console shows that it is open."""
    for field, keys in (("pan", pan + "#"), ("expiry", "1230"), ("cvv", "123")):
        await page.wait_for_selector(f".field.open[data-field={field}]", timeout=FIELD_TIMEOUT_MS)
        await caller.key(keys)


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_declined_card_and_its_retry_at_the_console(
    stage: Stage, phones: tuple[SipPhone, SipPhone]
) -> None:
    """Capture, decline with its reason, another card, approval, receipt; no PAN in page or stream."""
    caller, _agent = phones
    login = stage.logins["agent1"]
    seen: list[str] = []
    async with browser_page(stage.facts["http_url"]) as page:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: seen.append(str(frame))))
        await log_in(page, "agent1", login.password, "a new long password")
        await caller.call(NUMBER)
        await wait_view(page, "talking")
        await wait_text(page, "#caller", CALLER)
        await fill_payment(page, "19.95", "E2E 1")
        await page.keyboard.press("Alt+s")
        await wait_text(page, "#hearing", "Protected")
        await key_card(page, caller, NO_FUNDS)
        await page.wait_for_selector("#charge:enabled")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector("#result[data-state=declined]")
        await wait_text(page, "#result-reason", "limit or funds")
        await page.keyboard.press("Alt+r")
        await key_card(page, caller, VISA)
        await page.wait_for_selector("#charge:enabled")
        await wait_text(page, "#fields", "4242")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector("#result[data-state=settled]")
        await wait_text(page, "#result-reason", "Receipt")
        shown = await page.inner_text("body")
        await caller.hang_up()
        await wait_text(page, "#call-state", "Ended")
    for pan in (VISA, NO_FUNDS):
        assert pan not in shown + "".join(seen)
    assert len(seen) > 40


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.proof
async def test_a_hold_is_settled_in_part_and_refunded_on_a_call(
    stage: Stage, phones: tuple[SipPhone, SipPhone]
) -> None:
    """Pre-authorised while the caller keys, settled in part and refunded from the details, by keyboard."""
    caller, _agent = phones
    login = stage.logins["agent1"]
    async with browser_page(stage.facts["http_url"]) as page:
        await log_in(page, "agent1", login.password, "a new long password")
        await caller.call(NUMBER)
        await wait_view(page, "talking")
        await fill_payment(page, "50", "E2E 2")
        await page.click("#more summary")
        await page.select_option("#kind", "hold")
        await page.keyboard.press("Alt+s")
        await key_card(page, caller, VISA)
        await page.wait_for_selector("#charge:enabled")
        await wait_text(page, "#charge", "Hold €50.00")
        await page.keyboard.press("Alt+c")
        await page.wait_for_selector("#result[data-state=authorised]")
        await page.keyboard.press("Alt+d")
        await wait_text(page, "#detail-history", "Attempt 1: Approved")
        for amount, keys, told in (("30", "Alt+e", "Paid €30.00"), ("10", "Alt+u", "Refunded €10.00")):
            await page.wait_for_selector("body[data-busy=false]")
            await page.fill("#step-amount", amount)
            await page.keyboard.press(keys)
            await page.keyboard.press(keys)
            await wait_text(page, "#detail-sums", told)
        await page.wait_for_selector("#result[data-state=settled]")
        await page.screenshot(path=str(stage.folder / "steps.png"), full_page=True)
        await caller.hang_up()
        await wait_text(page, "#call-state", "Ended")
        await wait_text(page, "#detail-sums", "Paid €30.00")
