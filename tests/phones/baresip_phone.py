"""baresip as a program of its own: registers, answers one call, holds it, hangs up, and tells each step.

python tests/phones/baresip_phone.py USER PASSWORD SERVER_PORT TRANSPORT
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from baresip import Account, Config, RegistrationError
from baresip.call import Call
from baresip.events import Event, StackEvent
from baresip.runtime import Runtime
from baresip.ua import UserAgent

TALK_S = 0.5
LIFE_S = 20.0


def tell(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


async def agreed(call: Call, renegotiate: Callable[[], Awaitable[None]]) -> None:
    """Renegotiates, and returns when the far side has answered: until then another re-INVITE is an error."""
    answered = asyncio.Event()

    def listener(event: StackEvent) -> None:
        if event.event is Event.CALL_REMOTE_SDP and event.text == "answer":
            answered.set()

    call.on(listener)
    await renegotiate()
    await asyncio.wait_for(answered.wait(), LIFE_S)


async def main() -> None:
    user, password, port, transport = sys.argv[1:5]
    runtime = Runtime()
    await runtime.start(Config(net_interface="127.0.0.1"))
    account = Account(
        user,
        f"127.0.0.1:{port}",
        password,
        transport=transport,
        registrar=f"sip:127.0.0.1:{port};transport={transport}",
    )
    agent = await UserAgent.create(runtime, account)
    calls: asyncio.Queue[Call] = asyncio.Queue()
    agent.on_incoming(calls.put_nowait)
    try:
        await agent.register()
    except RegistrationError:
        tell("refused")
        await runtime.close()
        return
    tell("registered")
    call = await asyncio.wait_for(calls.get(), LIFE_S)
    await call.answer()
    await call.wait_established()
    tell("answered")
    await asyncio.sleep(TALK_S)
    await agreed(call, call.hold)
    tell("held")
    await agreed(call, call.resume)
    tell("resumed")
    await asyncio.sleep(TALK_S)
    await call.hangup()
    tell("ended")
    await agent.unregister()
    tell("unregistered")
    await runtime.close()


asyncio.run(main())
