"""The payer's page `/pay/<token>`: what is to be paid and a way to the bank; no field takes anything.

A provider with a page of its own is one press away. For a sandbox this page plays the bank: approve, decline,
3-D Secure. Plain HTML without a script, so that it works on any telephone; the token is the only credential.
"""

from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from string import Template

from aiohttp import hdrs, web

from agent_api.desk import DESK, NETWORK
from agent_api.links import THANKS_PATH
from agent_api.page_words import PAYER
from pay_ivr.logs import log
from pay_ivr.numbers import written
from vault import LinkAnswer, LinkPage, LinkState, Refused, VaultError

FOLDER = Path(__file__).parent / "page"
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""No script at all, nothing from elsewhere, and a form that leads nowhere else."""
STYLE_PATH = "/pay/page.css"
PATH = "/pay/{token:[A-Za-z0-9_-]{22}}"
BANK_STEP = "bank"
"""The second step of the sandbox's page: the bank's own question."""
STATUS = {LinkState.EXPIRED: 410, LinkState.CLOSED: 410, LinkState.CLOSING: 410}
ENDS = {
    LinkState.PAID: "paid",
    LinkState.EXPIRED: "expired",
    LinkState.CLOSED: "closed",
    LinkState.CLOSING: "closed",
}
"""What a page that takes no payment any more says."""

_PAGE = Template((FOLDER / "page.html").read_text(encoding="utf-8"))
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_page(app: web.Application) -> None:
    """The routes; none of them asks for a login."""
    style = (FOLDER / "page.css").read_bytes()

    async def serve_style(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=style, content_type="text/css", charset="utf-8")

    async def serve_thanks(request: web.Request) -> web.StreamResponse:
        language = _language(request)
        return _answer(200, language, "", _state("thanks", language))

    app.router.add_route("GET", STYLE_PATH, serve_style)
    app.router.add_route("GET", THANKS_PATH, serve_thanks)
    app.router.add_route("GET", PATH, _guarded(_show))
    app.router.add_route("POST", PATH, _guarded(_press))


def _guarded(handler: _Handler) -> _Handler:
    """The handler behind the rate limit; every failure is a page that a payer can read."""

    async def handle(request: web.Request) -> web.StreamResponse:
        desk, language = request.app[DESK], _language(request)
        wait_s = desk.pages.take(request[NETWORK], desk.now())
        if wait_s is not None:
            answer = _answer(429, language, "", _state("busy", language))
            answer.headers[hdrs.RETRY_AFTER] = str(wait_s)
            return answer
        try:
            return await handler(request)
        except Refused as refused:
            word, status = ("unknown", 404) if refused.code == "link_unknown" else ("closed", 410)
            return _answer(status, language, "", _state(word, language))
        except VaultError as error:
            log.warning("desk.page.failed", code=error.code)
            return _answer(503, language, "", _state("busy", language))

    return handle


async def _show(request: web.Request) -> web.StreamResponse:
    """GET: somebody looks, unless a browser only loads ahead."""
    desk = request.app[DESK]
    opened = "prefetch" not in request.headers.get("Sec-Purpose", "")
    page = await desk.door.link_page(request.match_info["token"], opened=opened)
    language = _language(request, page.language)
    tenant = desk.tenants[page.tenant].name if page.tenant in desk.tenants else ""
    body = _sum(page, language) + _act(request, page, language)
    return _answer(STATUS.get(page.state, 200), language, tenant, body)


async def _press(request: web.Request) -> web.StreamResponse:
    """POST: an answer on a sandbox's page; the page after it is fetched by the browser."""
    pressed = str((await request.post()).get("answer", ""))
    if pressed not in set(LinkAnswer):
        raise Refused("link_over", "There is no such answer.")
    token, answer = request.match_info["token"], LinkAnswer(pressed)
    await request.app[DESK].door.answer_link(token, answer)
    step = {"step": BANK_STEP} if answer is LinkAnswer.CHALLENGE else {}
    chosen = {"lang": request.query["lang"]} if request.query.get("lang") in PAYER.languages() else {}
    place = str(request.rel_url.with_query({**step, **chosen}))
    return web.Response(status=303, headers={hdrs.LOCATION: place})


def _sum(page: LinkPage, language: str) -> str:
    amount = written(language, page.amount_minor, page.currency)
    rows = (("amount", amount), ("reference", page.reference))
    cells = (f"<div><dt>{_word(language, name)}</dt><dd>{escape(text)}</dd></div>" for name, text in rows)
    return f"<dl>{''.join(cells)}</dl>"


def _act(request: web.Request, page: LinkPage, language: str) -> str:
    """What can be done: go to the provider's page, answer as a sandbox's bank, or nothing any more."""
    if not page.payable:
        return _state(ENDS[page.state], language)
    declined = _state("declined", language) if page.state is LinkState.DECLINED else ""
    if page.url:
        hint = f"<p>{_word(language, 'provider_hint')}</p>"
        return f'{declined}{hint}<p><a class="main" href="{escape(page.url)}">{_word(language, "go")}</a></p>'
    at_bank = request.query.get("step") == BANK_STEP
    hint = f"<p>{_word(language, 'bank_hint' if at_bank else 'test_hint')}</p>"
    answers = [LinkAnswer.APPROVE, LinkAnswer.DECLINE, *([] if at_bank else [LinkAnswer.CHALLENGE])]
    buttons = (
        f'<button name="answer" value="{one.value}"{_main(one)}>{_word(language, one.value)}</button>'
        for one in answers
    )
    return f'{"" if at_bank else declined}{hint}<form method="post">{"".join(buttons)}</form>'


def _main(answer: LinkAnswer) -> str:
    return ' class="main"' if answer is LinkAnswer.APPROVE else ""


def _state(word: str, language: str) -> str:
    return f'<p class="state" role="status" data-state="{word}">{_word(language, f"state_{word}")}</p>'


def _word(language: str, key: str) -> str:
    return escape(PAYER.word(language, key))


def _language(request: web.Request, spoken: str = "") -> str:
    """What the payer chose, what he spoke on the call, or what his browser prefers."""
    chosen, known = request.query.get("lang", ""), PAYER.languages()
    if chosen in known:
        return chosen
    if spoken in known:
        return spoken
    preferred = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")[:2]
    return next((one for one in known if one[:2] == preferred), "en-US")


def _answer(status: int, language: str, tenant: str, body: str) -> web.Response:
    others = "".join(
        f'<a href="?lang={one}" lang="{one}" hreflang="{one}"{_current(one, language)}>'
        f"{escape(PAYER.word(one, 'name'))}</a>"
        for one in PAYER.languages()
    )
    title = PAYER.word(language, "title", tenant=tenant) if tenant else PAYER.word(language, "title_plain")
    text = _PAGE.substitute(
        language=language,
        title=escape(title),
        body=body,
        languages=others,
        languages_label=_word(language, "languages"),
        style=STYLE_PATH,
    )
    headers = {"Content-Security-Policy": POLICY, "X-Robots-Tag": "noindex, nofollow"}
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def _current(one: str, language: str) -> str:
    return ' aria-current="true"' if one == language else ""
