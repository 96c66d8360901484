"""Dialogs: what both ends of a call remember of each other, and the requests one builds from that.

RFC 3261 §12, with the rewrite for strict routers (§12.2.1.1) and RFC 2543 peers without tags. The rule
this file owns: the route set is fixed when the dialog is made, only the remote target may change
afterwards (§12.2), and tags and addresses are the raw text of the peer, byte for byte.
"""

from dataclasses import dataclass
from typing import NamedTuple

from pay_ivr.sip.errors import LocalSipError, Malformed
from pay_ivr.sip.rim import SIP_PORT, Hop, Transport
from pay_ivr.sip.uri import Uri, parse_uri
from pay_ivr.sip.wire import Request, Response, cseq, name_addr, tag_of

MAX_FORWARDS = "70"
"""Hops a request of ours may take (RFC 3261 §8.1.1.6)."""


class DialogId(NamedTuple):
    """Call-ID and both tags: Call-IDs alone repeat, some phones count them from 1 after every restart."""

    call_id: str
    local_tag: str
    remote_tag: str
    """Empty for RFC 2543 peers."""


@dataclass(slots=True)
class Dialog:
    """The state of RFC 3261 §12.1 for one side of one dialog."""

    id: DialogId
    local: str
    """Our From in requests of ours, tag included, raw."""
    remote: str
    """Their To in requests of ours, raw as they sent it."""
    target: str
    """Raw URI that requests go to: the peer's Contact."""
    routes: tuple[str, ...]
    """Raw Route values, first hop first."""
    local_cseq: int
    remote_cseq: int | None
    """Highest CSeq seen from the peer; None before its first request."""

    def request(self, method: str) -> Request:
        """A new request inside the dialog, without Via and body; counts the CSeq up except for ACK."""
        if method != "ACK":
            self.local_cseq += 1
        return self.numbered(method, self.local_cseq)

    def numbered(self, method: str, number: int) -> Request:
        """As `request` with a given CSeq: the ACK of a 2xx carries the number of its INVITE (§13.2.2.4)."""
        uri, routes = self._route()
        request = Request(method, uri)
        for route in routes:
            request.add("Route", route)
        request.add("Max-Forwards", MAX_FORWARDS)
        request.add("From", self.local)
        request.add("To", self.remote)
        request.add("Call-ID", self.id.call_id)
        request.add("CSeq", f"{number} {method}")
        return request

    def accepts(self, request: Request) -> bool:
        """False when the request is out of order (§12.2.2: answer 500); remembers its CSeq otherwise."""
        number = cseq(request).number
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, contact: str | None) -> None:
        """Takes the Contact of a re-INVITE or its 2xx (§12.2); one we cannot read changes nothing."""
        self.target = _target(contact) or self.target

    def next_hop(self) -> Hop:
        """Where requests of this dialog go: the first route, else the target. Malformed for a bad one."""
        return hop_of(name_addr(self.routes[0]).uri if self.routes else self.target)

    def _route(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values; a first route without `lr` is a strict router and takes the R-URI."""
        if not self.routes:
            return self.target, ()
        first = name_addr(self.routes[0]).uri
        if "lr" in parse_uri(first).params:
            return self.target, self.routes
        return first, (*self.routes[1:], f"<{self.target}>")


def dialog_as_uas(invite: Request, local_tag: str, fallback_target: str) -> Dialog:
    """The dialog that our answer to `invite` makes (§12.1.1); the route set stays in the order it came."""
    return Dialog(
        id=DialogId(invite.get("Call-ID") or "", local_tag, tag_of(invite.get("From") or "") or ""),
        local=f"{invite.get('To')};tag={local_tag}",
        remote=invite.get("From") or "",
        target=_target(_first(invite, "Contact")) or fallback_target,
        routes=tuple(invite.get_all("Record-Route")),
        local_cseq=0,
        remote_cseq=cseq(invite).number,
    )


def dialog_as_uac(invite: Request, response: Response) -> Dialog:
    """The dialog that a 2xx to our INVITE makes (§12.1.2); the route set is turned round."""
    return Dialog(
        id=DialogId(
            invite.get("Call-ID") or "",
            tag_of(invite.get("From") or "") or "",
            tag_of(response.get("To") or "") or "",
        ),
        local=invite.get("From") or "",
        remote=response.get("To") or "",
        target=_target(_first(response, "Contact")) or invite.uri,
        routes=tuple(reversed(response.get_all("Record-Route"))),
        local_cseq=cseq(invite).number,
        remote_cseq=None,
    )


def hop_of(uri: str) -> Hop:
    """Where a request to this URI goes (RFC 3263 without NAPTR and SRV).

    Malformed 416 for what we do not speak: other schemes, IPv6, other transports.
    """
    parsed = parse_uri(uri)
    if parsed.scheme != "sip" or ":" in parsed.address:
        raise Malformed("uri_not_served", "Requests go to sip URIs over IPv4 only.", status=416)
    return Hop(_transport(parsed), parsed.address, parsed.port or SIP_PORT)


def _transport(uri: Uri) -> Transport:
    name = (uri.params.get("transport") or Transport.UDP).upper()
    try:
        return Transport(name)
    except ValueError:
        raise Malformed("transport", "The URI wants a transport we do not speak.", status=416) from None


def checked_target(uri: str) -> Hop:
    """`hop_of` for a URI of our own configuration: LocalSipError when it leads nowhere."""
    try:
        return hop_of(uri)
    except Malformed as malformed:
        raise LocalSipError("target", "The call's target leads nowhere.") from malformed


def _first(message: Request | Response, name: str) -> str | None:
    values = message.get_all(name)
    return values[0] if values else None


def _target(contact: str | None) -> str | None:
    """The URI of a Contact that requests can go to; None when there is none."""
    if contact is None:
        return None
    try:
        uri = name_addr(contact).uri
        hop_of(uri)
    except Malformed:
        return None
    return uri
