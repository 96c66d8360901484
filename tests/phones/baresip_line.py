"""baresip as a program of its own, told what to do by lines on stdin, answering with lines.

    agent:   python tests/phones/baresip_line.py USER SERVER_PORT            (password in PHONE_PASSWORD)
    caller:  python tests/phones/baresip_line.py USER SERVER_PORT NUMBER

stdin: `key 4242#` presses keys as telephone-events, `hangup`. stdout: registered | answered | keyed |
`heard 5` for every key that comes in | ended.
"""

import asyncio
import os
import sys

from baresip import Account, Config
from baresip.call import Call
from baresip.runtime import Runtime
from baresip.ua import UserAgent

LIFE_S = 60.0


def tell(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


async def obey(call: Call) -> None:
    """Reads commands until the call is to end."""
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    while line := (await stdin.readline()).decode().strip():
        command, _, keys = line.partition(" ")
        if command == "hangup":
            await call.hangup()
            return
        await call.send_dtmf(keys)
        tell("keyed")


async def main() -> None:
    user, port, *number = sys.argv[1:]
    runtime = Runtime()
    await runtime.start(Config(net_interface="127.0.0.1"))
    registrar = None if number else f"sip:127.0.0.1:{port}"
    password = os.environ.get("PHONE_PASSWORD", "-")
    account = Account(
        user, f"127.0.0.1:{port}", password, registrar=registrar, reg_interval=0 if number else 600
    )
    phone = await UserAgent.create(runtime, account)
    if number:
        call = await phone.dial(f"sip:{number[0]}@127.0.0.1:{port}")
    else:
        calls: asyncio.Queue[Call] = asyncio.Queue()
        phone.on_incoming(calls.put_nowait)
        await phone.register()
        tell("registered")
        call = await asyncio.wait_for(calls.get(), LIFE_S)
        await call.answer()
    call.on_dtmf(lambda event: tell(f"heard {event.digit}"))
    await call.wait_established()
    tell("answered")
    await asyncio.wait_for(obey(call), LIFE_S)
    tell("ended")
    await runtime.close()


asyncio.run(main())
