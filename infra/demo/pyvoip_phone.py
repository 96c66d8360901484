"""A pyVoIP telephone in a process of its own, told what to do by lines on stdin, answering in JSON lines.

pyVoIP is GPLv3: this program stands alone, imports nothing of the product and is never imported by it.

    agent:   pyvoip_phone.py --node-port P --user U --packets FILE           (password in PHONE_PASSWORD)
    caller:  pyvoip_phone.py --node-port P --user U --packets FILE --call NUMBER

stdin: `key 4242#` presses keys as in-band tones, `hangup`, `quit`. stdout: {"event": "registered" |
"answered" | "keyed" | "ended"}, `ended` with the telephone-events it has understood. FILE gets every RTP
packet that came in: 2 bytes length, 8 bytes of milliseconds, the packet; FILE.sent in the same form every
payload that went out.
"""

import argparse
import json
import math
import os
import random
import socket
import struct
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # pyVoIP 1.6.8 imports audioop

# The filter must stand first, and VoIP before SIP: the package imports itself in a circle.
from pyVoIP.VoIP import CallState, VoIPCall, VoIPPhone  # noqa: E402, I001
from pyVoIP import RTP, SIP  # noqa: E402

RATE_HZ = 8000
KEY_S, GAP_S = 0.1, 0.12
KEYPAD = ("123", "456", "789", "*0#")
LOW_HZ = {key: hertz for row, hertz in zip(KEYPAD, (697, 770, 852, 941), strict=True) for key in row}
HIGH_HZ = {key: hertz for row in KEYPAD for key, hertz in zip(row, (1209, 1336, 1477), strict=True)}
COMMANDS_MAX = 1000
KEYS_HEARD_MAX = 100


def say(event: str, **facts: object) -> None:
    """One JSON line for whoever started us."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def tone(key: str) -> bytes:
    """The key's two sines, 8-bit unsigned as pyVoIP wants it."""
    samples = range(int(RATE_HZ * KEY_S))
    low, high = LOW_HZ[key] * 2 * math.pi / RATE_HZ, HIGH_HZ[key] * 2 * math.pi / RATE_HZ
    return bytes(128 + int(38 * math.sin(low * n) + 46 * math.sin(high * n)) for n in samples)


def murmur(seconds: float, seed: int) -> bytes:
    """A quiet speech-like murmur, so that a listener hears that the line is alive."""
    rng = random.Random(seed)
    out, level = bytearray(), 0.0
    for n in range(int(RATE_HZ * seconds)):
        level = 0.92 * level + rng.uniform(-5, 5)
        out.append(128 + int(level * max(0.0, math.sin(2 * math.pi * 2.1 * n / RATE_HZ))))
    return bytes(out)


class Recorder:
    """Writes every RTP packet that the phone's socket gave, and every payload that it sent."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - lives as long as the phone
        self._sent = open(path + ".sent", "wb")  # noqa: SIM115
        self._lock = threading.Lock()

    def attach(self) -> None:
        """Taps pyVoIP between its socket and its parser."""
        parse = RTP.RTPClient.parse_packet

        def tapped(client: RTP.RTPClient, packet: bytes) -> None:
            with self._lock:
                self._file.write(struct.pack("!Hq", len(packet), int(time.monotonic() * 1000)) + packet)
                self._file.flush()
            parse(client, packet)

        RTP.RTPClient.parse_packet = tapped
        encode = RTP.RTPClient.encode_packet

        def tapped_out(client: RTP.RTPClient, samples: bytes) -> bytes:
            payload = encode(client, samples)
            with self._lock:
                self._sent.write(struct.pack("!Hq", len(payload), int(time.monotonic() * 1000)) + payload)
                self._sent.flush()
            return payload

        RTP.RTPClient.encode_packet = tapped_out


class Telephone:
    """One phone, one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._call: VoIPCall | None = None
        self._quiet_until = 0.0
        self._over = False

    def run(self) -> None:
        """Registers or calls, then obeys stdin until `quit` or its end."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if self._options.call:
            SIP.SIPClient.register = lambda _client: True  # a trunk's caller does not register
        low = 30000 + 2 * random.randrange(2000)
        phone = VoIPPhone(
            "127.0.0.1", self._options.node_port, self._options.user, os.environ.get("PHONE_PASSWORD", "-"),
            myIP="127.0.0.1", callCallback=self._incoming, sipPort=port, rtpPortLow=low, rtpPortHigh=low + 40,
        )  # fmt: skip
        phone.start()
        say("registered")
        if self._options.call:
            self._call = phone.call(self._options.call)
            threading.Thread(target=self._follow, args=(self._call,), daemon=True).start()
        try:
            self._obey()
        finally:
            self._over = True
            phone.stop()

    def _incoming(self, call: VoIPCall) -> None:
        call.answer()
        self._call = call
        self._follow(call)

    def _follow(self, call: VoIPCall) -> None:
        while call.state in {CallState.DIALING, CallState.RINGING} and not self._over:
            time.sleep(0.02)
        if call.state is CallState.ANSWERED:
            say("answered")
        seed = 0
        while call.state is CallState.ANSWERED and not self._over:
            if time.monotonic() > self._quiet_until:
                seed += 1
                call.write_audio(murmur(0.5, seed))
                self._quiet_until = time.monotonic() + 0.5
            time.sleep(0.02)
        say("ended", keys_heard=call.get_dtmf(KEYS_HEARD_MAX))

    def _obey(self) -> None:
        for _ in range(COMMANDS_MAX):
            line = sys.stdin.readline()
            command, _, rest = line.strip().partition(" ")
            if not line or command == "quit":
                return
            call = self._call
            if call is None or call.state is not CallState.ANSWERED:
                continue
            if command == "hangup":
                call.hangup()
            elif command == "key":
                self._press(call, rest)

    def _press(self, call: VoIPCall, keys: str) -> None:
        """All keys in one piece of audio: their spacing must not depend on when we are woken."""
        length_s = len(keys) * (KEY_S + GAP_S)
        self._quiet_until = time.monotonic() + length_s + 1.0
        time.sleep(0.55)  # what was written before is played out
        silence = bytes([128]) * int(RATE_HZ * GAP_S)
        call.write_audio(b"".join(tone(key) + silence for key in keys))
        time.sleep(length_s)
        say("keyed", count=len(keys))


def main() -> None:
    """Runs one telephone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--node-port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--packets", required=True)
    parser.add_argument("--call", default="")
    options = parser.parse_args()
    Recorder(options.packets).attach()
    Telephone(options).run()
    os._exit(0)  # pyVoIP's timers are not daemons and would keep the process


if __name__ == "__main__":
    main()
