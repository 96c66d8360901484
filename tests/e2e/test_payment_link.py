"""A payment sent as a link: a real call, a message in the folder, the payer's page in Chromium, the books."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from pay_ivr.proof.desk import DeskRefusal
from tests.support.console import (
    barriers,
    browser_page,
    fill_payment,
    log_in,
    picture,
    reach,
    wait_text,
)
from tests.support.node import DONE, Node, Talk, running_node
from vault import Door, Match

NEEDS_ACTION = "4000002760003184"
ADDRESS = "payer@example.com"
PROMPTS_S = 20.0
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.tool("chromium-headless-shell"),
    pytest.mark.proof,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A node with two desks."""
    async with running_node(tmp_path_factory.mktemp("links"), 2) as node:
        yield node


def messages(node: Node) -> list[dict[str, Any]]:
    """What was sent, oldest first."""
    folder = node.stage.folder / "data" / "messages"
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


async def send(talk: Talk, channel: str = "email", to: str = ADDRESS) -> dict[str, Any]:
    """The agent sends the link."""
    return await talk.press("link", channel=channel, to=to)


def address_in(message: dict[str, Any]) -> str:
    """The link of a message."""
    found = re.search(r"http://\S+/pay/[A-Za-z0-9_-]{22}", message["text"])
    assert found is not None
    return found.group()


async def press(page: Page, name: str) -> None:
    """A button by keyboard alone."""
    button = page.get_by_role("button", name=name)
    await button.focus()
    await page.keyboard.press("Enter")


async def test_a_referred_card_is_paid_by_link(node: Node) -> None:
    """The bank wants its customer: link, page, 3-D Secure, approval; the agent sees it, the books agree."""
    async with node.places[0].call() as talk:
        await talk.start(reference="LINK-1")
        await talk.key_card(NEEDS_ACTION + DONE)
        assert "needs_action" == (await talk.charge())["state"]
        sent = await send(talk)
        assert ("linked", "made") == (sent["state"], sent["link"])
        message = messages(node)[-1]
        assert (ADDRESS, "email") == (message["to"], message["medium"])
        assert "€19.95" in message["text"]
        async with browser_page(address_in(message)) as page:
            await talk.step("link_opened")
            assert "opened" == talk.payment["link"]
            assert [] == await barriers(page)
            assert 0 == await page.locator("input, textarea, iframe, script").count()
            await press(page, "Confirm with 3-D Secure")
            await wait_text(page, "p", "Your bank asks")
            await press(page, "Approve")
            await page.wait_for_selector("[data-state=paid]")
            assert [] == await barriers(page)
        paid = await talk.until("settled")
        assert ("paid", 1995, 2) == (paid["link"], paid["settled_minor"], paid["attempt"])
        history = await talk.desk.call("GET", f"/v1/payments/{talk.payment_id}/history")
        assert ["moto_agent", "link_3ds"] == [one["sca_basis"] for one in history["attempts"]]
    await the_books_agree(node, talk.payment_id)
    assert ADDRESS not in node.stage.log_file.read_text(encoding="utf-8")


async def the_books_agree(node: Node, payment_id: str) -> None:
    """Our books and the provider's statement show the same money for it."""
    door = Door(node.stage.settings.sockets / "vault.sock")
    await door.connect()
    try:
        found = await door.reconcile("demo")
        while not found.done:
            found = await door.reconcile("demo")
    finally:
        await door.close()
    matches = [item.match for item in found.items if item.payment_id == payment_id]
    assert set(matches) <= {Match.MATCHED}


async def test_a_link_is_declined_sent_again_and_withdrawn(node: Node, tmp_path: Path) -> None:
    """By SMS, in German; a decline is told live; what was sent first opens nothing; the end is a cancel."""
    async with node.places[1].call() as talk:
        await talk.start(reference="LINK-2")
        await talk.until_open("pan")
        await talk.key("4242")
        await send(talk, "sms", "+4915112345678")
        assert ("linked", False) == (talk.payment["state"], talk.payment["capture_live"])
        first = address_in(messages(node)[-1])
        await send(talk)
        second = address_in(messages(node)[-1])
        with pytest.raises(DeskRefusal, match="link_open"):
            await talk.press("capture")
        async with browser_page(first) as page:
            await page.wait_for_selector("[data-state=unknown]")
            await page.goto(second + "?lang=de-DE", wait_until="load")
            assert "de-DE" == await page.locator("html").get_attribute("lang")
            await press(page, "Ablehnen")
            await page.wait_for_selector("[data-state=declined]")
            await talk.step("link_declined")
            await talk.desk.call("DELETE", f"/v1/payments/{talk.payment_id}/link")
            cancelled = await talk.until("cancelled")
            assert "closed" == cancelled["link"]
            await page.reload()
            await page.wait_for_selector("[data-state=closed]")
    with pytest.raises(DeskRefusal, match="not_linked"):
        await talk.desk.call("DELETE", f"/v1/payments/{talk.payment_id}/link")


async def test_the_agent_sends_a_link_at_the_console(node: Node, tmp_path: Path) -> None:
    """By keyboard alone: capture, link, and how far it is; the payer's approval is the page's result."""
    place = node.places[0]
    async with place.call() as talk, browser_page(node.url) as page:
        await log_in(page, "agent1", place.desk.password)
        await fill_payment(page, "12.50", "LINK-3")
        await page.keyboard.press("Alt+s")
        await wait_text(page, "#hearing", "Protected")
        await reach(page, "paylink-to")
        await page.keyboard.type(ADDRESS)
        await page.keyboard.press("Alt+l")
        await wait_text(page, "#paylink-state", "not opened yet")
        assert "" == await page.input_value("#paylink-to")
        assert [] == await barriers(page)
        await picture(page, tmp_path, "linked")
        async with browser_page(address_in(messages(node)[-1])) as payer:
            await wait_text(page, "#paylink-state", "Opened")
            await press(payer, "Approve")
            await payer.wait_for_selector("[data-state=paid]")
        await page.wait_for_selector("#result[data-state=settled]")
        await wait_text(page, "#result-reason", "Receipt")
        assert talk.call_id
