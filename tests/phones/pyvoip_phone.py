"""pyVoIP as a program of its own: registers, answers one call or makes one, and tells each step.

    python tests/phones/pyvoip_phone.py USER PASSWORD SERVER_PORT OWN_PORT [NUMBER]

GPLv3: nothing of the product imports it. With NUMBER it calls, and hangs up itself after `TALK_S`.
"""

import sys
import time

from pyVoIP.VoIP import CallState, InvalidStateError, VoIPCall, VoIPPhone

TALK_S = 2.0
"""A call of its own lasts this long."""
LIFE_S = 30.0
"""After this the program ends whatever happens."""


def tell(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


def answer(call: VoIPCall) -> None:
    """Its callback for a call that comes in."""
    try:
        call.answer()
        tell("answered")
        while call.state == CallState.ANSWERED:
            time.sleep(0.05)
        tell("ended")
    except InvalidStateError:
        tell("gone")


def main() -> None:
    user, password, server_port, own_port = sys.argv[1:5]
    phone = VoIPPhone(
        "127.0.0.1",
        int(server_port),
        user,
        password,
        callCallback=answer,
        myIP="127.0.0.1",
        sipPort=int(own_port),
        rtpPortLow=42_000,
        rtpPortHigh=42_100,
    )
    phone.start()
    tell("registered")
    if len(sys.argv) > 5:
        call = phone.call(sys.argv[5])
        deadline = time.monotonic() + LIFE_S / 3
        while call.state == CallState.DIALING and time.monotonic() < deadline:
            time.sleep(0.05)
        tell(call.state.name.lower())
        time.sleep(TALK_S)
        tell("still" if call.state == CallState.ANSWERED else "dropped")
        call.hangup()
        tell("ended")
    time.sleep(LIFE_S)


if __name__ == "__main__":
    main()
