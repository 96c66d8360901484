"""A small telephone: registers, rings, answers, calls, keys; keeps every SIP datagram as evidence.

One UDP socket, one call at a time, requests repeated every half second until they are answered (enough for a
loopback). It borrows the product's SIP codec to read and write text, not its transactions or legs.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence

from pay_ivr.proof.audio import tone
from pay_ivr.proof.rtp_port import Datagram, Impairment, RtpPort
from pay_ivr.sip import sdp
from pay_ivr.sip.digest import Credentials, authorization, choose
from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.wire import Request, Response, cseq, parse, response_to, tag_of

REPEAT_S = 0.5
ANSWER_TIMEOUT_S = 20.0
KEY_MS, GAP_MS = 80, 80
TRANSPORTS = ("event", "inband", "hybrid", "both", "lead-in", "info")
"""How keys travel: events; tones, no events offered; tones although events were negotiated; both at once;
40 ms of tone, then events; SIP INFO."""


class SipPhone(asyncio.DatagramProtocol):
    """One telephone on one UDP port of 127.0.0.1."""

    def __init__(
        self,
        user: str,
        *,
        codec: str = "PCMU",
        seed: int = 1,
        impairment: Impairment | None = None,
        answers: bool = True,
        offers_events: bool = True,
        mute: bool = False,
    ) -> None:
        """`codec`: the one it offers, and the first one it answers with. `mute`: sends no RTP at all."""
        self.user = user
        self.evidence: list[Datagram] = []
        self.rtp = RtpPort(codec, seed, impairment, mute=mute)
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.final_status = 0
        self._codec = codec
        self._answers = answers
        self._offers_events = offers_events
        self._node = ("127.0.0.1", 5060)
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[str, asyncio.Future[Response]] = {}
        self._cseq = 1
        self.call_id = ""
        self._local = self._remote = self._target = ""
        self.port = 0

    async def open(self, node_port: int) -> None:
        """Takes the ports; `node_port` is where the node's SIP is."""
        self._node = ("127.0.0.1", node_port)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        await self.rtp.open()

    def close(self) -> None:
        """Gives the ports back."""
        self.rtp.close()
        if self._transport is not None:
            self._transport.close()

    # What a person does with it.

    async def register(self, password: str) -> None:
        """Registers with digest; ConnectionError when the node refuses."""
        uri = f"sip:127.0.0.1:{self._node[1]}"
        aor, call_id, tag = f"<sip:{self.user}@127.0.0.1>", secrets.token_hex(8), secrets.token_hex(4)
        answer = await self._ask(self._register(uri, aor, call_id, tag))
        challenge = choose(answer.get_all("WWW-Authenticate"))
        if answer.status == 401 and challenge is not None:
            request = self._register(uri, aor, call_id, tag)
            request.add(
                "Authorization", authorization(challenge, Credentials(self.user, password), "REGISTER", uri)
            )
            answer = await self._ask(request)
        if answer.status != 200:
            raise ConnectionError(f"REGISTER was answered {answer.status}")

    async def call(self, number: str) -> None:
        """Calls a number; returns when it is answered, ConnectionError with the status when it is refused."""
        self.call_id, tag = secrets.token_hex(8), secrets.token_hex(4)
        self._target = f"sip:{number}@127.0.0.1:{self._node[1]}"
        self._local = f"<sip:{self.user}@127.0.0.1>;tag={tag}"
        self._remote = f"<sip:{number}@127.0.0.1>"
        invite = self._request("INVITE", self._offer())
        final = await self._ask(invite)
        self._remote = final.get("To") or self._remote
        self.final_status = final.status
        if final.status != 200:
            raise ConnectionError(f"the call was answered {final.status}")
        self._target = (final.get("Contact") or f"<{self._target}>").split("<")[1].split(">")[0]
        self._ack(invite)
        self._up(sdp.accept(sdp.parse_sdp(final.body)))

    async def hang_up(self) -> None:
        """BYE, and its answer."""
        if self.ended.is_set():
            return
        self.ended.set()
        await self._ask(self._request("BYE"))

    async def key(
        self, keys: Sequence[str], transport: str = "event", *, on_ms: int = KEY_MS, gap_ms: int = GAP_MS
    ) -> None:
        """Presses keys one after the other and returns when the last one is over."""
        for number, key in enumerate(keys):
            if transport == "info":
                await self._info(key, on_ms)
            else:
                self._queue_key(key, transport, on_ms)
            self.rtp.queue_pause(gap_ms)
            if transport == "info" or number == len(keys) - 1:
                await self.sent()

    async def sent(self) -> None:
        """Returns when everything queued is on the wire."""
        while self.rtp.busy and not self.ended.is_set():
            await asyncio.sleep(0.01)

    # The wire.

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Keeps it, then reads it."""
        self.evidence.append(Datagram(time.monotonic(), data))
        try:
            message = parse(data)
        except Malformed:
            return
        if isinstance(message, Response):
            self._on_response(message)
        else:
            self._on_request(message, addr)

    def _on_response(self, response: Response) -> None:
        waiting = self._waiting.get(_branch(response))
        if waiting is None and cseq(response).method == "INVITE" and response.status >= 200:
            return
        if waiting is not None and not waiting.done() and response.status >= 200:
            waiting.set_result(response)

    def _on_request(self, request: Request, addr: tuple[str | object, int]) -> None:
        reply = response_to(request, 200, to_tag=None if tag_of(request.get("To") or "") else "phone")
        if request.method == "ACK":
            return
        if request.method == "INVITE":
            if not self._answers:
                reply = response_to(request, 486, to_tag="phone")
            else:
                reply.add("Contact", f"<sip:{self.user}@127.0.0.1:{self.port}>")
                reply.add("Content-Type", "application/sdp")
                reply.body = self._take(request)
        elif request.method == "BYE":
            self.ended.set()
        if self._transport is not None:
            self._transport.sendto(reply.to_bytes(), addr)

    def _take(self, invite: Request) -> bytes:
        """Answers an INVITE at once; also a repeated one, with the same SDP."""
        body, agreed = sdp.answer(
            sdp.parse_sdp(invite.body),
            "127.0.0.1",
            self.rtp.port,
            version=1,
            session_id=7,
            codecs=(self._codec,),
        )
        self.call_id = invite.get("Call-ID") or ""
        self._remote = invite.get("From") or ""
        to = invite.get("To") or ""
        self._local = to if tag_of(to) else f"{to};tag=phone"
        self._target = (invite.get("Contact") or "<sip:127.0.0.1>").split("<")[1].split(">")[0]
        self.ended.clear()
        self._up(agreed)
        return body

    def _up(self, agreed: sdp.Negotiated) -> None:
        self.rtp.codec, self.rtp.payload_type = agreed.codec, agreed.payload_type
        self.rtp.start((agreed.ip, agreed.port))
        self.answered.set()

    def _offer(self) -> bytes:
        text = sdp.offer("127.0.0.1", self.rtp.port, codecs=(self._codec,))
        if self._offers_events:
            return text
        lines = [line for line in text.decode().split("\r\n") if "101" not in line.split(" ")[0] and line]
        return ("\r\n".join(line.replace(" 101", "") for line in lines) + "\r\n").encode()

    def _register(self, uri: str, aor: str, call_id: str, tag: str) -> Request:
        self._cseq += 1
        request = Request("REGISTER", uri)
        self._head(request, f"{aor};tag={tag}", aor, call_id)
        request.add("Expires", "600")
        return request

    def _request(self, method: str, body: bytes = b"", kind: str = "application/sdp") -> Request:
        self._cseq += 1
        request = Request(method, self._target)
        self._head(request, self._local, self._remote, self.call_id)
        if body:
            request.add("Content-Type", kind)
            request.body = body
        return request

    def _head(self, request: Request, local: str, remote: str, call_id: str) -> None:
        branch = "z9hG4bK" + secrets.token_hex(8)
        request.add("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch={branch}")
        request.add("Max-Forwards", "70")
        request.add("From", local)
        request.add("To", remote)
        request.add("Call-ID", call_id)
        request.add("CSeq", f"{self._cseq} {request.method}")
        request.add("Contact", f"<sip:{self.user}@127.0.0.1:{self.port}>")

    def _ack(self, invite: Request) -> None:
        ack = Request("ACK", self._target)
        self._head(ack, self._local, self._remote, self.call_id)
        ack.set("CSeq", f"{cseq(invite).number} ACK")
        if self._transport is not None:
            self._transport.sendto(ack.to_bytes(), self._node)

    async def _ask(self, request: Request) -> Response:
        """The final response; the request is repeated until it comes."""
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        branch = _branch(request)
        self._waiting[branch] = waiting
        until = time.monotonic() + ANSWER_TIMEOUT_S
        try:
            while time.monotonic() < until and self._transport is not None:
                self._transport.sendto(request.to_bytes(), self._node)
                done, _ = await asyncio.wait(
                    [waiting], timeout=REPEAT_S if request.method != "INVITE" else 15.0
                )
                if done:
                    return waiting.result()
        finally:
            self._waiting.pop(branch, None)
        raise ConnectionError(f"{request.method} was not answered")

    async def _info(self, key: str, on_ms: int) -> None:
        body = f"Signal={key}\r\nDuration={on_ms}\r\n".encode()
        self.rtp.pressed.append((time.monotonic(), key))
        await self._ask(self._request("INFO", body, "application/dtmf-relay"))

    def _queue_key(self, key: str, transport: str, on_ms: int) -> None:
        if transport in {"inband", "hybrid"}:
            self.rtp.queue_audio(key, tone(key, on_ms, phase=self.rtp.phase()))
        elif transport == "both":
            self.rtp.queue_both(key, tone(key, on_ms, phase=self.rtp.phase()))
        else:
            if transport == "lead-in":
                self.rtp.queue_audio(key, tone(key, 40, phase=self.rtp.phase()))
            self.rtp.queue_event(key, on_ms, again=transport == "lead-in")


def _branch(message: Request | Response) -> str:
    return (message.get("Via") or "").rpartition("branch=")[2].split(";")[0].split(",")[0]
