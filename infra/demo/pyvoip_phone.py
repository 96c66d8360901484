"""A pyVoIP telephone in a process of its own, told what to do by lines on stdin, answering in JSON lines.

pyVoIP is GPLv3: this program stands alone, imports nothing of the product and is never imported by it.

    agent:   pyvoip_phone.py --node-port P --user U --packets FILE           (password in PHONE_PASSWORD)
    caller:  pyvoip_phone.py --node-port P --user U --packets FILE --call NUMBER

stdin: `key 4242#` presses keys as in-band tones, `hangup`, `quit`. stdout: {"event": "registered" | "answered" |
"keyed" | "ended"}. FILE gets every RTP packet that came in: 2 bytes length, 8 bytes milliseconds, the packet.
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

from pyVoIP import RTP, SIP  # noqa: E402 - the filter must stand first
from pyVoIP.VoIP import CallState, VoIPCall, VoIPPhone  # noqa: E402

RATE_HZ = 8000
KEY_S, GAP_S = 0.1, 0.12
LOW_HZ = {"1": 697, "2": 697, "3": 697, "4": 770, "5": 770, "6": 770, "7": 852, "8": 852, "9": 852, "*": 941, "0": 941, "#": 941}
HIGH_HZ = {"1": 1209, "4": 1209, "7": 1209, "*": 1209, "2": 1336, "5": 1336, "8": 1336, "0": 1336, "3": 1477, "6": 1477, "9": 1477, "#": 1477}
COMMANDS_MAX = 1000


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
    """Writes every RTP packet that the phone's socket gave."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - lives as long as the phone
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
        say("ended")

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
        self._quiet_until = time.monotonic() + len(keys) * (KEY_S + GAP_S) + 1.0
        time.sleep(0.55)  # what was written before is played out
        for key in keys:
            call.write_audio(tone(key))
            time.sleep(KEY_S + GAP_S)
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
