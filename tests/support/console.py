"""The console in a real browser: headless Chromium, driven by keys and by what the page shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, async_playwright

CHROMIUM = "/usr/bin/chromium-headless-shell"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""A browser that talks to nobody but us; no sandbox because tests run as root."""
TIMEOUT_MS = 20_000
TAB_STOPS_MAX = 20
"""The page never shows more elements that take the focus; past the last one the first comes again."""
SIZE = {"width": 1280, "height": 800}


@asynccontextmanager
async def browser_page(url: str, *, scheme: str = "light", **context: Any) -> AsyncIterator[Page]:
    """The console's page in a fresh browser; `context` are options of Playwright's new_context."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        options = {"viewport": SIZE, "color_scheme": scheme, "locale": "en-US", **context}
        page = await (await browser.new_context(**options)).new_page()
        page.set_default_timeout(TIMEOUT_MS)
        await page.goto(url)
        try:
            yield page
        finally:
            await browser.close()


async def log_in(page: Page, user: str, password: str, new_password: str | None = None) -> None:
    """Logs in by keyboard; with a one-time password the new one is asked for and given."""
    await page.wait_for_selector("#login-form:visible")
    await page.keyboard.type(user)
    await page.keyboard.press("Tab")
    await page.keyboard.type(password)
    await page.keyboard.press("Enter")
    if new_password is not None:
        await page.wait_for_selector("#new-password:visible")
        await page.keyboard.type(new_password)
        await page.keyboard.press("Enter")
    await page.wait_for_selector("#link[data-live=true]")


async def reach(page: Page, element_id: str) -> None:
    """Tab until the element has the focus; LookupError when the keyboard does not get there."""
    for _ in range(TAB_STOPS_MAX):
        if await page.evaluate("document.activeElement.id") == element_id:
            return
        await page.keyboard.press("Tab")
    raise LookupError(element_id)


async def fill_payment(page: Page, amount: str, reference: str) -> None:
    """Amount and reference by keyboard; currency and purpose stay the tenant's first."""
    await page.wait_for_selector("#amount:visible")
    for element_id, text in (("amount", amount), ("reference", reference)):
        await reach(page, element_id)
        await page.keyboard.type(text)


async def barriers(page: Page, *rules: str) -> list[str]:
    """What axe-core calls serious or critical on the page: rule and element; by all rules or some."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    wanted = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = await page.evaluate("wanted => axe.run(wanted)", wanted)
    return [
        f"{violation['id']}: {element['target'][0]}"
        for violation in found["violations"]
        if violation["impact"] in {"serious", "critical"}
        for element in violation["nodes"]
    ]


async def wait_view(page: Page, view: str) -> None:
    """Waits for idle, talking, capturing or result."""
    await page.wait_for_selector(f"body[data-view={view}]")


async def wait_text(page: Page, selector: str, text: str) -> None:
    """Waits until an element shows this text."""
    await page.wait_for_selector(f"{selector}:visible:has-text({text!r})")


async def picture(page: Page, folder: Path, name: str) -> None:
    """A screenshot of the whole page, for people."""
    await page.screenshot(path=str(folder / f"{name}.png"), full_page=True)
