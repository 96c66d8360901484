"""What SIPp plays: each scenario is a list of steps, written to XML when it is started.

SIPp finds messages by Call-ID only, so the branches here are our own: an INVITE, its CANCEL and the ACK of
its refusal share one, everything else has a branch of its own (RFC 3261 §9.1, §17.1.1.3).
"""

from textwrap import indent

Step = str

OPTIONAL = ' optional="true"'
REPEATED = ' retrans="500"'
"""SIPp repeats such a message on UDP until the next one comes."""
CALLER = "<sip:caller@[local_ip]:[local_port];transport=[transport]>"
AGENT = "<sip:agent@[local_ip]:[local_port];transport=[transport]>"
AGENT_TAG = ";tag=[pid]a[call_number]"
FORK_TAG = ";tag=[pid]b[call_number]"
"""Another phone behind the same proxy, which picked up as well."""
VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-"
OURS = "sip:[service]@[remote_ip]:[remote_port]"


def sdp(version: int = 1, direction: str = "sendrecv") -> str:
    """A description of SIPp's."""
    return "\n".join((
        f"v=0\no=sipp 1 {version} IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0",
        "m=audio 6000 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000",
        f"a={direction}",
    ))  # fmt: skip


def send(lines: list[str], body: str = "", *, kind: str = "application/sdp", attributes: str = "") -> Step:
    """One message of SIPp's."""
    tail = [f"Content-Type: {kind}", "Content-Length: [len]", "", body] if body else ["Content-Length: 0"]
    text = indent("\n".join([*lines, *tail]), "      ")
    return f"  <send{attributes}>\n    <![CDATA[\n\n{text}\n\n    ]]>\n  </send>\n"


def hear(what: int | str, *actions: str, attributes: str = "") -> Step:
    """One message that must come, or may come when it is optional."""
    kind = "response" if isinstance(what, int) else "request"
    inner = f"<action>{''.join(actions)}</action>" if actions else ""
    return f'  <recv {kind}="{what}"{attributes}>{inner}</recv>\n'


def wants(pattern: str, header: str = "") -> str:
    """The message, or one header of it, must match; otherwise the call fails."""
    where = f'search_in="hdr" header="{header}:"' if header else 'search_in="msg"'
    return f'<ereg regexp="{pattern}" {where} check_it="true" assign_to="found"/><log message="[$found]"/>'


def pause(milliseconds: int) -> Step:
    return f'  <pause milliseconds="{milliseconds}"/>\n'


def request(
    method: str, number: int, *headers: str, branch: str = "", to_tag: str = "[peer_tag_param]"
) -> list[str]:
    """The head of a request of a caller."""
    return [
        f"{method} {OURS} SIP/2.0",
        f"{VIA}{branch or method}{number}",
        'From: "Caller" <sip:caller@[local_ip]:[local_port]>;tag=[pid]c[call_number]',
        f"To: <{OURS}>{to_tag}",
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        f"Contact: {CALLER}",
        "Max-Forwards: 70",
        *headers,
    ]


def invite(*headers: str, body: str = sdp(), hundred: str = OPTIONAL) -> Step:
    """The first INVITE, and its 100."""
    first = send(request("INVITE", 1, *headers, to_tag=""), body, attributes=REPEATED)
    return first + hear(100, attributes=hundred)


def ack(number: int, body: str = "") -> Step:
    """Of a 2xx."""
    return send(request("ACK", number), body)


def ack_refusal(number: int = 1) -> Step:
    return send(request("ACK", number, branch="INVITE"))


def answered(*actions: str) -> Step:
    """INVITE, 180, 200, ACK from the caller's side."""
    return invite() + hear(180, attributes=OPTIONAL) + hear(200, *actions) + ack(1)


def refused(status: int, *actions: str) -> Step:
    return hear(180, attributes=OPTIONAL) + hear(status, *actions) + ack_refusal()


def cancel() -> Step:
    return send(request("CANCEL", 1, branch="INVITE", to_tag=""), attributes=REPEATED)


def hang_up(number: int) -> Step:
    """BYE and its own 200: without the names SIPp takes the repeated 200 of an INVITE for it."""
    sent = send(request("BYE", number), attributes=f'{REPEATED} start_txn="bye"')
    return sent + hear(200, attributes=' response_txn="bye"')


def reply(
    status: int,
    body: str = "",
    *,
    tag: str = "",
    contact: str = "",
    cseq: str = "[last_CSeq:]",
    attributes: str = "",
) -> Step:
    """A response to the last request."""
    lines = [
        f"SIP/2.0 {status} Reply",
        "[last_Via:]",
        "[last_From:]",
        f"[last_To:]{tag}",
        "[last_Call-ID:]",
        cseq,
    ]
    return send([*lines, *([f"Contact: {contact}"] if contact else [])], body, attributes=attributes)


WAY = '<ereg regexp=".*" search_in="hdr" header="Via:" assign_to="way"/>'
PEER = '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="remote"/>'
SELF = '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="local"/>'


def late_reply(status: int) -> Step:
    """A response to the first INVITE of ours, sent when other messages have come meanwhile."""
    return reply(status, cseq="CSeq: 1 INVITE").replace("[last_Via:]", "Via: [$way]")


def fork_accepts() -> Step:
    """The second phone's 200, long after the first one's ACK."""
    late = reply(200, sdp(), contact=AGENT, cseq="CSeq: 1 INVITE").replace("[last_Via:]", "Via: [$way]")
    return late.replace("[last_To:]", f"To: [$local]{FORK_TAG}")


def bye_taken() -> Step:
    return hear("BYE") + reply(200)


def reinvite(number: int, direction: str, expected: str) -> Step:
    """A re-INVITE of the caller that is answered with the mirrored direction."""
    sent = send(request("INVITE", number), sdp(number, direction), attributes=REPEATED)
    return sent + hear(100, attributes=OPTIONAL) + hear(200, wants(f"a={expected}")) + ack(number)


# -- the agent's side

PICK_UP = hear("INVITE", PEER, WAY, attributes=' rrs="true"')


def ring() -> Step:
    return reply(180, tag=AGENT_TAG, contact=AGENT)


def accept() -> Step:
    return reply(200, sdp(), tag=AGENT_TAG, contact=AGENT)


def agent_request(method: str, number: int, body: str = "", *, attributes: str = REPEATED) -> Step:
    """A request of the agent: the addresses of the INVITE with their sides swapped."""
    lines = [
        f"{method} [next_url] SIP/2.0",
        f"{VIA}{method}{number}",
        f"From: <sip:agent@[local_ip]:[local_port]>{AGENT_TAG}",
        "To: [$remote]",
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        f"Contact: {AGENT}",
        "Max-Forwards: 70",
    ]
    return send(lines, body, attributes=attributes)


def agent_reinvite(number: int, direction: str, expected: str) -> Step:
    sent = agent_request("INVITE", number, sdp(number + 1, direction))
    heard = hear(100, attributes=OPTIONAL) + hear(200, wants(f"a={expected}"))
    return sent + heard + agent_request("ACK", number, attributes="")


def agent_refuses(status: int) -> Step:
    return hear("INVITE") + reply(status, tag=AGENT_TAG, attributes=REPEATED) + hear("ACK")


def register(number: int, *headers: str) -> Step:
    lines = request("REGISTER", number, "Expires: 300", *headers, to_tag="")
    named = [line.replace("caller@", "[service]@") for line in lines]
    return send([named[0].replace("[service]@", ""), *named[1:]], attributes=REPEATED)


INFO = send(request("INFO", 2), "Signal=5\nDuration=160", kind="application/dtmf-relay", attributes=REPEATED)
AGENT_TAG_SEEN, FORK_TAG_SEEN = "tag=[0-9]+a[0-9]+", "tag=[0-9]+b[0-9]+"
IN_OR_OUT = (
    hear(180, attributes=OPTIONAL)
    + hear(503, wants("[0-9]+", "Retry-After"), attributes=' optional="true" next="refused"')
    + hear(200)
    + ack(1)
    + pause(1_500)
    + hang_up(2)
    + '  <nop next="over"/>\n  <label id="refused"/>\n'
    + ack_refusal()
    + '  <label id="over"/>\n'
)
SCENARIOS: dict[str, Step] = {
    # calls, talks for a moment, hangs up
    "caller": answered() + pause(200) + hang_up(2),
    "caller_waits": answered() + bye_taken(),
    "caller_cancels": invite() + hear(180) + cancel() + hear(200) + hear(487) + ack_refusal(),
    "caller_cancels_at_once": invite(hundred="")
    + cancel()
    + hear(180, attributes=OPTIONAL)
    + hear(200)
    + hear(487)
    + ack_refusal(),
    # the 200 is on its way when this caller gives up: too late, the call is up and needs a BYE
    "caller_cancels_too_late": invite()
    + hear(180, attributes=OPTIONAL)
    + hear(200)
    + send(request("CANCEL", 1, branch="INVITE", to_tag=""), attributes=f'{REPEATED} start_txn="cancel"')
    + hear(200, attributes=' response_txn="cancel"')
    + ack(1)
    + hang_up(2),
    "caller_holds": answered()
    + reinvite(2, "sendonly", "recvonly")
    + reinvite(3, "sendrecv", "sendrecv")
    + hang_up(4),
    # our re-INVITE comes; its own goes out before it has refused ours
    "caller_glares": answered()
    + hear("INVITE", WAY)
    + send(request("INVITE", 2), sdp(2))
    + hear(491)
    + ack_refusal(2)
    + late_reply(491)
    + hear("ACK")
    + hear("INVITE")
    + reply(200, sdp(3), contact=CALLER)
    + hear("ACK")
    + hang_up(3),
    "caller_late_offer": invite(body="")
    + hear(180, attributes=OPTIONAL)
    + hear(200, wants("m=audio [0-9]+ RTP/AVP 0"))
    + ack(1, sdp())
    + pause(100)
    + hang_up(2),
    **{f"caller_refused_{status}": invite() + refused(status) for status in (404, 480, 486, 500, 603)},
    "caller_never_acks": invite() + hear(180, attributes=OPTIONAL) + hear(200) + bye_taken(),
    "caller_sends_info": answered() + INFO + hear(200) + pause(100) + hang_up(3),
    "caller_overload": invite() + IN_OR_OUT,
    "options": send(request("OPTIONS", 1, to_tag=""), attributes=REPEATED)
    + hear(200, wants("INVITE", "Allow")),
    "options_draining": send(request("OPTIONS", 1, to_tag=""), attributes=REPEATED)
    + hear(503, wants("[0-9]+", "Retry-After")),
    "require_unknown": invite("Require: 100rel") + hear(420, wants("100rel", "Unsupported")) + ack_refusal(),
    "bye_unknown": send(request("BYE", 2, to_tag=";tag=nobody"), attributes=REPEATED) + hear(481),
    "cseq_backwards": answered()
    + send(request("OPTIONS", 9), attributes=REPEATED)
    + hear(200)
    + send(request("OPTIONS", 5), attributes=REPEATED)
    + hear(500)
    + hang_up(10),
    "register": register(1)
    + hear(401, attributes=' auth="true"')
    + register(2, "[authentication]")
    + hear(200, wants("expires=300", "Contact")),
    "register_refused": register(1)
    + hear(401, attributes=' auth="true"')
    + register(2, "[authentication]")
    + hear(401),
    # any INFO is unexpected here and fails the call
    "agent": PICK_UP + ring() + accept() + hear("ACK") + bye_taken(),
    "agent_hangs_up": PICK_UP
    + ring()
    + accept()
    + hear("ACK")
    + pause(200)
    + agent_request("BYE", 1)
    + hear(200),
    "agent_holds": PICK_UP
    + ring()
    + accept()
    + hear("ACK")
    + agent_reinvite(1, "sendonly", "recvonly")
    + agent_reinvite(2, "sendrecv", "sendrecv")
    + bye_taken(),
    "agent_rings": PICK_UP
    + ring()
    + hear("CANCEL")
    + reply(200, tag=AGENT_TAG)
    + reply(487, tag=AGENT_TAG, cseq="CSeq: 1 INVITE", attributes=REPEATED)
    + hear("ACK"),
    # silent for longer than a caller's patience: no CANCEL may come before the first provisional
    "agent_rings_late": PICK_UP
    + pause(1_200)
    + ring()
    + hear("CANCEL")
    + reply(200, tag=AGENT_TAG)
    + reply(487, tag=AGENT_TAG, cseq="CSeq: 1 INVITE", attributes=REPEATED)
    + hear("ACK"),
    # its 200 crosses the CANCEL: the call is up for a moment, and over with our BYE
    "agent_answers_the_cancel": PICK_UP
    + ring()
    + hear("CANCEL")
    + reply(200, tag=AGENT_TAG)
    + reply(200, sdp(), tag=AGENT_TAG, contact=AGENT, cseq="CSeq: 1 INVITE")
    + hear("ACK")
    + bye_taken(),
    # two phones behind one proxy pick up: the first wins, the second is told that it lost
    "agent_forks": hear("INVITE", PEER, SELF, WAY, attributes=' rrs="true"')
    + ring()
    + accept()
    + hear("ACK", wants(AGENT_TAG_SEEN, "To"))
    + fork_accepts()
    + hear("ACK", wants(FORK_TAG_SEEN, "To"))
    + hear("BYE", wants(FORK_TAG_SEEN, "To"))
    + reply(200)
    + agent_request("BYE", 1)
    + hear(200),
    "agent_rings_long": PICK_UP + ring() + pause(36_000) + accept() + hear("ACK") + bye_taken(),
    "agent_rings_again": PICK_UP + accept() + hear("ACK") + late_reply(180) + bye_taken(),
    **{f"agent_refuses_{status}": agent_refuses(status) for status in (404, 486, 503, 603)},
}


def xml(name: str) -> str:
    """The scenario as SIPp reads it."""
    steps = SCENARIOS[name]
    names = [
        name
        for name in ("remote", "local", "way")
        if f'assign_to="{name}"' in steps and f"[${name}]" not in steps
    ]
    unused = f'  <Reference variables="{",".join(names)}"/>\n' if names else ""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
    return f'{head}<scenario name="{name}">\n{steps}{unused}</scenario>\n'
