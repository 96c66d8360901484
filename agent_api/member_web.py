"""The member's own page `/m/<tenant>`: what the telephone offers, on a screen, by the same use cases.

A PIN is sealed in the browser for a cell (WebCrypto, RSA-OAEP): what passes here is bytes that this process
cannot open. An unknown number and a wrong PIN get the same answer after the same work. The page is one file
of HTML, one of style, one of script; nothing comes from elsewhere.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from aiohttp import hdrs, web
from pydantic import ValidationError

from agent_api.auth import names_host
from agent_api.desk import DESK, NETWORK, Desk
from agent_api.entrance import BODY_TIMEOUT_S, parse_json
from agent_api.member_forms import (
    ClaimForm,
    LoginForm,
    NewPinForm,
    RedeemForm,
    ResetForm,
    SealedForm,
    SealForm,
)
from agent_api.member_sessions import AGE_S, MemberLogin
from agent_api.page_words import MEMBER
from agent_api.problems import DeskError
from loyalty.answers import Channel, NotRedeemed
from loyalty.errors import LoyaltyError
from loyalty.members import Ambiguous, CardState, Claim
from loyalty.service import Loyalty
from pay_ivr.logs import log
from vault import NewPinEntry, PinProblem, PinPurpose, PinResult, VaultError

FOLDER = Path(__file__).parent / "member_page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""No inline script or style, no foreign host, no HTML from strings, no form that leads anywhere."""
COOKIE = "__Host-pay-ivr-member"
PATH = "/m/{tenant:[a-z0-9][a-z0-9_-]{0,39}}"
MOVEMENTS_SHOWN = 10
REDEMPTIONS_SHOWN = 5
BY = "caller"
"""Actor on record: the member himself, as on the telephone."""

Handler = Callable[[web.Request, Desk, Loyalty, str], Awaitable[web.StreamResponse]]
_Form = TypeVar("_Form", bound=SealForm)

_PAGE = Template((FOLDER / "page.html").read_text(encoding="utf-8"))


def add_member_page(app: web.Application) -> None:
    """The page, its two files, and what its script asks for."""
    app.router.add_route("GET", "/m/page.css", _file("page.css", "text/css"))
    app.router.add_route("GET", "/m/page.js", _file("page.js", "text/javascript"))
    app.router.add_route("GET", PATH, _guarded(_show))
    app.router.add_route("GET", PATH + "/account", _guarded(_account))
    for name, handler in ASKED.items():
        app.router.add_route("POST", f"{PATH}/{name}", _guarded(handler))


def _file(name: str, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    content = (FOLDER / name).read_bytes()

    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=content_type, charset="utf-8")

    return serve


def _guarded(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler behind the rate limit and, for what changes something, the browser's own word."""

    async def handle(request: web.Request) -> web.StreamResponse:
        desk, tenant = request.app[DESK], request.match_info["tenant"]
        wait_s = desk.pages.take(request[NETWORK], desk.now())
        if wait_s is not None:
            return _told({"code": "busy"}, 429, {hdrs.RETRY_AFTER: str(wait_s)})
        if desk.loyalty is None or tenant not in desk.loyalty.tenants():
            raise web.HTTPNotFound
        if request.method == "POST" and not _own(request, desk):
            return _told({"code": "not_possible"}, 403)
        try:
            return await handler(request, desk, desk.loyalty, tenant)
        except (LoyaltyError, VaultError) as error:
            log.warning("desk.member.failed", code=error.code)
            return _told({"code": "busy" if error.retryable else "not_possible"}, 503)

    return handle


def _own(request: web.Request, desk: Desk) -> bool:
    """True when the page itself asks: a page elsewhere can forge neither header."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get(hdrs.ORIGIN, "")
    if origin in {desk.settings.link_origin, desk.settings.public_origin}:  # behind a proxy that changes Host
        return True
    return names_host(origin, request.host)


async def _show(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """GET: the page in the language chosen or preferred."""
    language = _language(request, desk, tenant)
    words = {key: escape(text) for key, text in MEMBER.all(language).items()}
    others = "".join(
        f'<a href="?lang={one}" lang="{one}" hreflang="{one}"{_current(one, language)}>'
        f"{escape(MEMBER.word(one, 'name'))}</a>"
        for one in _languages(desk, tenant)
    )
    programme = loyalty.programme(tenant)
    title = escape(f"{programme.name} · {desk.tenants[tenant].name}")
    data = {"language": language, "tenant": tenant, "words": MEMBER.all(language)}
    text = _PAGE.substitute(
        words,
        language=language,
        title=title,
        programme=escape(programme.name),
        languages_list=others,
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )
    headers = {"Content-Security-Policy": POLICY, "X-Robots-Tag": "noindex, nofollow"}
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)


# --- before the login -------------------------------------------------------------------------------------


async def _seal(request: web.Request, _desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST seal: the vault's public key, and a challenge that is good for one PIN."""
    await _form(request, SealForm)
    seal = await loyalty.pin_seal(tenant)
    return _told({"key_id": seal.key_id, "public_key": seal.public_key, "challenge": seal.challenge})


async def _log_in(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST login: number or postcode and birth date, with a sealed PIN."""
    form = await _form(request, LoginForm)
    if (busy := _too_many(request, desk)) is not None:
        return busy
    claim = await _claimed(loyalty, tenant, form)
    if isinstance(claim, Ambiguous):
        return _told({"code": "ask_house_number"}, 409)
    result = await _checked(request, loyalty, tenant, claim.member_id, PinPurpose.VERIFY, form)
    if result is not PinResult.OK or not claim.known:
        return _told({"code": _code_of(result)}, 403)
    answer = _told({"code": "ok"})
    login_id = desk.member_logins.open(tenant, claim.member_id, desk.now())
    answer.set_cookie(
        COOKIE, login_id, max_age=int(AGE_S), path="/", secure=True, httponly=True, samesite="Strict"
    )
    return answer


async def _send_code(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST reset-code: always the same answer at once; a member who exists gets a message."""
    form = await _form(request, ClaimForm)
    if (busy := _too_many(request, desk)) is not None:
        return busy
    claim = await _claimed(loyalty, tenant, form)
    if isinstance(claim, Ambiguous):
        return _told({"code": "ask_house_number"}, 409)
    if claim.known:
        desk.keep(asyncio.create_task(_send(loyalty, tenant, claim.member_id)))
    return _told({"code": "code_on_its_way"})


async def _send(loyalty: Loyalty, tenant: str, member_id: str) -> None:
    """Sends the code while the answer is long given: how long it takes tells nobody who exists."""
    try:
        await loyalty.send_reset_code(tenant, member_id, by=BY)
    except (LoyaltyError, VaultError) as error:
        log.warning("desk.member.code_unsent", code=error.code)


async def _reset(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST reset: the code that was sent and a new PIN twice, sealed."""
    form = await _form(request, ResetForm)
    if (busy := _too_many(request, desk)) is not None:
        return busy
    claim = await _claimed(loyalty, tenant, form)
    if isinstance(claim, Ambiguous):
        return _told({"code": "ask_house_number"}, 409)
    result = await _checked(request, loyalty, tenant, claim.member_id, PinPurpose.RESET, form)
    if result is PinResult.OK:
        desk.member_logins.close_all(tenant, claim.member_id)
        return _told({"code": "pin_changed"})
    return _told({"code": _code_of(result)}, 403)


async def _claimed(loyalty: Loyalty, tenant: str, form: ClaimForm) -> Claim | Ambiguous:
    if form.number is not None:
        return await loyalty.members.claim_by_number(tenant, form.number)
    assert form.postcode is not None
    assert form.born is not None
    return await loyalty.members.claim_by_birth(tenant, form.postcode, form.born_on, form.house_number)


async def _checked(
    request: web.Request,
    loyalty: Loyalty,
    tenant: str,
    member_id: str,
    purpose: PinPurpose,
    sealed: SealedForm,
) -> PinResult | PinProblem:
    """What a cell says about the sealed PIN; the birth date goes along where a new one is chosen."""
    born = "" if purpose is PinPurpose.VERIFY else await _born(loyalty, tenant, member_id)
    entry = NewPinEntry(tenant, member_id, purpose, caller_number=f"web:{request[NETWORK]}", born=born)
    return await loyalty.check_pin_sealed(entry, sealed.key_id, sealed.challenge, sealed.sealed)


async def _born(loyalty: Loyalty, tenant: str, member_id: str) -> str:
    """The member's birth date; empty for a decoy, after the same question."""
    try:
        return (await loyalty.members.person(tenant, member_id)).born.isoformat()
    except LoyaltyError:
        return ""


def _code_of(result: PinResult | PinProblem) -> str:
    """The page's word for what a PIN came to."""
    if isinstance(result, PinProblem):
        return f"pin_{result.value}"
    return "pin_locked" if result is PinResult.LOCKED else "login_failed"


# --- after the login --------------------------------------------------------------------------------------


async def _account(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """GET account: everything that the page shows of a member, no personal data among it."""
    login = _login(request, desk, tenant)
    if login is None:
        return _told({"code": "login_needed"}, 401)
    member = await loyalty.members.get(tenant, login.member_id)
    balance = await loyalty.balance(tenant, login.member_id)
    movements = await loyalty.movements(tenant, login.member_id, MOVEMENTS_SHOWN)
    redemptions = await loyalty.redemptions(tenant, login.member_id, REDEMPTIONS_SHOWN)
    language = _language(request, desk, tenant)
    offers = await loyalty.rewards(tenant, login.member_id, language)
    return _told(
        {
            "code": "ok",
            "available": balance.available,
            "expiring": balance.expiring_points,
            "expires": balance.next_expiry.isoformat() if balance.next_expiry else None,
            "card": {"last4": member.card_last4, "locked": member.card_state is not CardState.ACTIVE},
            "movements": [
                {"kind": one.kind, "points": one.points, "at": one.on.isoformat()} for one in movements
            ],
            "rewards": [
                {
                    "id": one.reward_id,
                    "kind": one.kind.value,
                    "name": one.name,
                    "points": one.points,
                    "possible": one.affordable,
                }
                for one in offers
            ],
            "redemptions": [
                {
                    "receipt": one.receipt,
                    "name": _reward_name(loyalty, tenant, one.reward_id, language),
                    "points": one.points,
                    "at": one.at[:10],
                    "state": one.state.value,
                }
                for one in redemptions
            ],
        }
    )


def _reward_name(loyalty: Loyalty, tenant: str, reward_id: str, language: str) -> str:
    reward = loyalty.programme(tenant).reward_of(reward_id)
    return reward.name(language) if reward is not None else reward_id


async def _redeem(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST redeem: the page keeps its key until it has an answer, so a wish that is sent twice buys once."""
    form = await _form(request, RedeemForm)
    login = _login(request, desk, tenant)
    if login is None:
        return _told({"code": "login_needed"}, 401)
    answer = await loyalty.redeem(
        tenant,
        login.member_id,
        form.reward_id,
        key=f"web:{login.member_id[-24:]}:{form.key}",
        channel=Channel.WEB,
        by=BY,
    )
    if isinstance(answer, NotRedeemed):
        return _told({"code": f"redeem_{answer.code.value}"}, 409)
    return _told(
        {
            "code": "ok",
            "kind": answer.kind.value,
            "points": answer.points,
            "receipt": answer.receipt,
            "voucher": answer.code,
            "sent_by": answer.delivery.value if answer.delivery else None,
        }
    )


async def _lock_card(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST card-lock: at once; only an agent opens it again."""
    await _form(request, SealForm)
    login = _login(request, desk, tenant)
    if login is None:
        return _told({"code": "login_needed"}, 401)
    await loyalty.lock_card(tenant, login.member_id, by=BY, reason="lost")
    return _told({"code": "card_locked"})


async def _change_pin(request: web.Request, desk: Desk, loyalty: Loyalty, tenant: str) -> web.StreamResponse:
    """POST pin: the old PIN and the new one twice, sealed; other logins of the member end."""
    form = await _form(request, NewPinForm)
    login = _login(request, desk, tenant)
    if login is None:
        return _told({"code": "login_needed"}, 401)
    result = await _checked(request, loyalty, tenant, login.member_id, PinPurpose.CHANGE, form)
    if result is PinResult.OK:
        desk.member_logins.close_all(tenant, login.member_id)
        return _told({"code": "pin_changed"})
    code = "pin_wrong" if result is PinResult.WRONG else _code_of(result)
    return _told({"code": code}, 403)


async def _log_out(request: web.Request, desk: Desk, _loyalty: Loyalty, _tenant: str) -> web.StreamResponse:
    """POST logout: gone on the server, too."""
    await _form(request, SealForm)
    desk.member_logins.close(request.cookies.get(COOKIE, ""))
    answer = _told({"code": "ok"})
    answer.set_cookie(COOKIE, "", max_age=0, path="/", secure=True, httponly=True, samesite="Strict")
    return answer


ASKED: Mapping[str, Handler] = {
    "seal": _seal,
    "login": _log_in,
    "logout": _log_out,
    "reset-code": _send_code,
    "reset": _reset,
    "redeem": _redeem,
    "card-lock": _lock_card,
    "pin": _change_pin,
}
"""What the page's script may ask for: `/m/<tenant>/<name>`."""

# --- small parts ------------------------------------------------------------------------------------------


async def _form(request: web.Request, kind: type[_Form]) -> _Form:
    """The body as this form; DeskError for anything else."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
    except TimeoutError:
        raise DeskError("request_invalid") from None
    if request.content_type != "application/json":
        raise DeskError("json_needed")
    try:
        return kind.model_validate(parse_json(raw))
    except ValidationError:
        raise DeskError("body_invalid") from None


def _too_many(request: web.Request, desk: Desk) -> web.Response | None:
    """An answer when this network has tried too often; the vault counts once more, and longer."""
    wait_s = desk.logins.take(f"member:{request[NETWORK]}", desk.now())
    return None if wait_s is None else _told({"code": "busy"}, 429, {hdrs.RETRY_AFTER: str(wait_s)})


def _login(request: web.Request, desk: Desk, tenant: str) -> MemberLogin | None:
    return desk.member_logins.find(tenant, request.cookies.get(COOKIE, ""), desk.now())


def _told(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(dict(body), status=status, headers=dict(headers or {}))


def _languages(desk: Desk, tenant: str) -> tuple[str, ...]:
    """What the tenant speaks and the page has words for."""
    return tuple(one for one in MEMBER.languages() if one in desk.tenants[tenant].languages) or ("en-US",)


def _language(request: web.Request, desk: Desk, tenant: str) -> str:
    """What the member chose, or what his browser prefers."""
    known = _languages(desk, tenant)
    if (chosen := request.query.get("lang", "")) in known:
        return chosen
    preferred = request.headers.get(hdrs.ACCEPT_LANGUAGE, "")[:2]
    return next((one for one in known if one[:2] == preferred), known[0])


def _current(one: str, language: str) -> str:
    return ' aria-current="true"' if one == language else ""
