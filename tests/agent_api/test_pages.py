"""The payer's page: four languages, no field, no script, nothing of what it shows read as markup."""

from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, web

from agent_api.desk import DESK, NETWORK
from agent_api.limits import PAGES_BURST, Buckets
from agent_api.page_words import PAYER
from agent_api.pages import POLICY, add_page
from vault import LinkAnswer, LinkPage, LinkState, Refused, Unreachable

TOKEN = "a" * 22
PAGE = LinkPage("demo", 1995, "EUR", "INV <b>1</b>", "de-DE", LinkState.MADE, "")


class Door:
    """The two calls of the door that the page makes."""

    def __init__(self) -> None:
        self.page: LinkPage | Exception = PAGE
        self.opened: list[bool] = []
        self.answers: list[LinkAnswer] = []

    async def link_page(self, _token: str, *, opened: bool) -> LinkPage:
        self.opened.append(opened)
        if isinstance(self.page, Exception):
            raise self.page
        return self.page

    async def answer_link(self, _token: str, answer: LinkAnswer) -> LinkPage:
        self.answers.append(answer)
        return PAGE


class Desk:
    """What the page needs of a desk."""

    def __init__(self) -> None:
        self.door = Door()
        self.pages = Buckets(0.001, PAGES_BURST)
        self.tenants: dict[str, Any] = {}

    def now(self) -> float:
        return 0.0


class Tags(HTMLParser):
    """Every tag of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, _attrs: Any) -> None:
        self.found.append(tag)


@pytest.fixture
async def site():
    """The page on a loopback port, and its desk."""
    desk = Desk()

    @web.middleware
    async def origin(request: web.Request, handler: Any) -> web.StreamResponse:
        request[NETWORK] = "127.0.0.1"
        return await handler(request)

    app = web.Application(middlewares=[origin])
    app[DESK] = desk  # type: ignore[misc]
    add_page(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession(
        f"http://127.0.0.1:{runner.addresses[0][1]}", cookie_jar=DummyCookieJar()
    ) as http:
        yield http, desk
    await runner.cleanup()


async def shown(http: ClientSession, path: str = f"/pay/{TOKEN}", **headers: str) -> tuple[int, str]:
    async with http.get(path, headers=headers) as answer:
        assert POLICY == answer.headers["Content-Security-Policy"]
        return answer.status, await answer.text()


async def test_a_page_shows_what_is_to_be_paid(site):
    """Amount and reference as text, in the language of the call or the one that was chosen; no field."""
    http, desk = site
    status, text = await shown(http)
    assert (200, True) == (status, 'lang="de-DE"' in text)
    assert "19,95" in text
    assert "INV &lt;b&gt;1&lt;/b&gt;" in text
    assert not {"input", "textarea", "script", "iframe", "img", "b"} & set(Tags(text).found)
    assert "Aceptar" in (await shown(http, f"/pay/{TOKEN}?lang=es-ES"))[1]
    await shown(http, **{"Sec-Purpose": "prefetch"})
    assert [True, True, False] == desk.door.opened


async def test_a_provider_with_its_own_page_is_one_press_away(site):
    """A link to it, and no button of ours."""
    http, desk = site
    desk.door.page = LinkPage(
        "demo", 1, "JPY", "R", "en-US", LinkState.OPENED, 'https://pay.example/?a=1&b="'
    )
    _, text = await shown(http)
    assert 'href="https://pay.example/?a=1&amp;b=&quot;"' in text
    assert "button" not in Tags(text).found


@pytest.mark.parametrize(
    ("page", "status", "word"),
    [
        (LinkState.PAID, 200, "paid"), (LinkState.EXPIRED, 410, "expired"), (LinkState.CLOSED, 410, "closed"),
        (LinkState.CLOSING, 410, "closed"), (Refused("link_unknown", ""), 404, "unknown"),
        (Unreachable("unreachable", ""), 503, "busy"),
    ],
)  # fmt: skip
async def test_a_page_that_cannot_be_paid_says_so(site, page, status, word):
    """Every end has its words, and no button."""
    http, desk = site
    ended = page if isinstance(page, Exception) else LinkPage("demo", 1995, "EUR", "R", "en-US", page, "")
    desk.door.page = ended
    found, text = await shown(http)
    assert (status, True) == (found, f'data-state="{word}"' in text)
    assert "form" not in Tags(text).found


async def test_an_answer_leads_back_to_the_page(site):
    """Post, then get: a reload presses nothing again; what is no answer changes nothing."""
    http, desk = site
    for answer, place in (("approve", f"/pay/{TOKEN}"), ("challenge", f"/pay/{TOKEN}?step=bank")):
        async with http.post(f"/pay/{TOKEN}", data={"answer": answer}, allow_redirects=False) as found:
            assert (303, place) == (found.status, found.headers["Location"])
    async with http.post(f"/pay/{TOKEN}", data={"answer": "4242"}) as found:
        assert 410 == found.status
    assert [LinkAnswer.APPROVE, LinkAnswer.CHALLENGE] == desk.door.answers


async def test_guessing_is_slowed_down(site):
    """One address gets so many pages; then a page that asks to wait, and the vault is not asked."""
    http, desk = site
    desk.door.page = Refused("link_unknown", "")
    seen = [(await shown(http))[0] for _ in range(PAGES_BURST + 2)]
    assert [404] * PAGES_BURST + [429] * 2 == seen
    assert PAGES_BURST == len(desk.door.opened)


def test_every_language_says_the_same():
    """The same texts with the same places in all four; what a value holds is no place."""
    english = PAYER.all("en-US")
    assert ("de-DE", "en-US", "es-ES", "fr-FR") == PAYER.languages()
    for tag in PAYER.languages():
        assert set(english) == set(PAYER.all(tag))
        for key, text in PAYER.all(tag).items():
            assert _places(english[key]) == _places(text)
            assert text
    assert "{url}" in PAYER.word("en-US", "sms_text", tenant="{url}", amount="1", url="u")


def _places(text: str) -> set[str]:
    return {part.partition("}")[0] for part in text.split("{")[1:]}
