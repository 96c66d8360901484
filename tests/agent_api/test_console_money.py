"""The console's money steps and kept cards in a real browser, at a desk with a real vault."""

import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from playwright.async_api import Page

from pay_ivr.people import Permission
from tests.agent_api.conftest import PASSWORD, DeskHouse
from tests.support.console import barriers, browser_page, fill_payment, log_in, picture, reach, wait_text
from tests.support.zone import Desk, ZoneProcesses, desk_at

_numbers = count(1)


@pytest.fixture
async def caller(zone: ZoneProcesses, money_house: DeskHouse) -> AsyncIterator[Desk]:
    """A caller at the vault who keys what is asked."""
    money_house.clock.now = time.time()
    async with desk_at(zone, f"p{next(_numbers)}") as each:
        yield each


async def find(page: Page, text: str) -> None:
    """The payment with that reference, found and opened by keyboard."""
    await reach(page, "find-text")
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".found-open")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#detail:visible")


async def looked_at(page: Page, folder: Path, name: str) -> list[str]:
    """What axe-core finds in light and dark; a picture for people."""
    await picture(page, folder, name)
    found = await barriers(page)
    await page.emulate_media(color_scheme="dark")
    found += [f"dark {one}" for one in await barriers(page, "color-contrast")]
    await page.emulate_media(color_scheme="light")
    return [f"{name} {one}" for one in found]


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_hold_is_found_settled_in_part_and_refunded_by_keyboard(
    money_house: DeskHouse, caller: Desk, tmp_path: Path
) -> None:
    """Every step wants a second press; what it came to shows by itself; nobody is kept out."""
    held = await caller.charged(amount_minor=5000, settle_later=True)
    barred: list[str] = []
    async with browser_page(money_house.url) as page:
        await log_in(page, "agent1", money_house.one_time["agent1"], PASSWORD)
        await find(page, held.reference)
        await wait_text(page, "#detail-history", "Attempt 1: Approved")
        barred += await looked_at(page, tmp_path, "held")
        await page.fill("#step-amount", "30.00")
        await page.keyboard.press("Alt+e")
        await wait_text(page, "#settle", "Press again: settle €30.00")
        barred += await looked_at(page, tmp_path, "first-press")
        await page.keyboard.press("Alt+e")
        await wait_text(page, "#detail-sums", "Paid €30.00")
        assert "30.00" == await page.input_value("#step-amount")
        await page.fill("#step-amount", "9.50")
        await caller.door.refund(held.payment_id, ask_key="meanwhile", by="key:shop", amount_minor=50)
        await wait_text(page, "#detail-sums", "Refunded €0.50")
        assert "9.50" == await page.input_value("#step-amount"), "news may not change what somebody types"
        await page.keyboard.press("Alt+u")
        await wait_text(page, "#refund", "€9.50")
        await page.evaluate("document.getElementById('step-amount').value = '8.50'")
        await page.keyboard.press("Alt+u")
        await wait_text(page, "#refund", "€8.50")
        await page.fill("#step-amount", "9.50")
        await page.keyboard.press("Alt+u")
        await page.keyboard.press("Alt+u")
        await wait_text(page, "#detail-sums", "Refunded €10.00")
        await wait_text(page, "#detail-history", "Refund · €9.50 · done · agent:agent1")
        barred += await looked_at(page, tmp_path, "refunded")
        await page.fill("#receipt-to", "anna@example.com")
        await page.press("#receipt-to", "Enter")
        await wait_text(page, "#receipt-told", "on its way")
        assert "" == await page.input_value("#receipt-to")
        await page.fill("#step-amount", "20.01")
        await page.keyboard.press("Alt+u")
        await page.keyboard.press("Alt+u")
        await wait_text(page, "#alert-text", "more than is left")
        barred += await looked_at(page, tmp_path, "refused")
        shown = await page.inner_text("body")
    assert [] == barred
    assert "4242424242424242" not in shown
    assert 3 == len(await money_house.outgoing.receipts.due(2**60))
    done = await caller.door.payment(held.payment_id)
    assert (3000, 1000) == (done.settled_minor, done.refunded_minor)


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_colleague_sees_the_payment_but_not_its_buttons(money_house: DeskHouse, caller: Desk) -> None:
    """In his own language; with the permission the button is there."""
    paid = await caller.charged()
    async with browser_page(money_house.url, locale="de-DE") as page:
        await log_in(page, "agent2", money_house.one_time["agent2"], PASSWORD)
        await find(page, paid.reference)
        await wait_text(page, "#no-actions", "nichts zu tun")
        assert not await page.is_visible("#refund")
        may = frozenset({Permission.REFUND})
        await money_house.store.set_permissions("agent:agent2", "demo", may, 1, "system:operator")
        await page.click("#detail-close")
        await page.click(".found-open")
        await wait_text(page, "#refund", "Erstatten")


@pytest.mark.tool("chromium-headless-shell")
@pytest.mark.slow
async def test_a_kept_card_pays_on_a_call_and_is_forgotten(
    money_house: DeskHouse, caller: Desk, tmp_path: Path
) -> None:
    """The customer's cards are listed in the form; one pays without a key; forgetting wants two presses."""
    await caller.charged(customer="shop-77", mandate="phone_order_v2")
    board = money_house.board
    async with browser_page(money_house.url) as page:
        await log_in(page, "agent1", money_house.one_time["agent1"], PASSWORD)
        call = board.bridge("demo", "agent1")
        await fill_payment(page, "7", "INV 77")
        await page.click("#more summary")
        await page.fill("#customer", "shop-77")
        await page.click("#cards-show")
        await wait_text(page, ".kept-card", "Visa ending in 4242")
        barred = await looked_at(page, tmp_path, "cards")
        await page.click(".kept button:first-of-type")
        await page.wait_for_selector("#charge:enabled")
        (payment,) = board.payments_of(call.call_id)
        assert ("shop-77", True) == (
            board.options[payment.payment_id]["customer"],
            str(board.options[payment.payment_id]["card_id"]).startswith("card_"),
        )
        await page.keyboard.press("Alt+x")
        await page.keyboard.press("Alt+x")
        await page.wait_for_selector("#result[data-state=cancelled]")
        await page.keyboard.press("Alt+n")
        await page.fill("#customer", "shop-77")
        await page.click("#cards-show")
        await page.click(".kept button:last-of-type")
        await page.click(".kept button:last-of-type")
        await page.wait_for_selector("#cards-none:visible")
        await page.fill("#amount", "9")
        await page.fill("#reference", "INV 78")
        await page.select_option("#kind", "hold")
        await page.keyboard.press("Alt+s")
        await page.wait_for_selector(".field.open")
        board.hurry(board.payments_of(call.call_id)[-1].payment_id)
        await wait_text(page, "#charge", "Hold €9.00")
    assert [] == barred
    assert () == await caller.door.kept_cards("demo", "shop-77")
    assert board.payments_of(call.call_id)[-1].settle_later
