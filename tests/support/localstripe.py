"""A second opinion: localstripe, a Stripe written by others, in a process of its own, without disk.

It is GPLv3 and therefore never imported by a test; this file run as a program is that process. Started as its
authors mean it, it listens on every interface and writes its store, PANs included, to a fixed file under
/tmp at every change: here it gets a loopback socket, and a store that does not write.

What it cannot do (1.15.10): `allowed_payment_method_types`, confirm with a payment method, parameters of
capture beside the amount, parameters of cancel, reasons of refunds, charges of an intent, idempotency keys,
caps on refunds, declines of most test cards. Green here says nothing about those.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
DUMP = Path("/tmp/localstripe.pickle")
"""Where it would write."""
KEY = "sk_test_localstripe"
"""It takes any key that begins so."""
END_S = 10.0


@contextmanager
def localstripe() -> Iterator[str]:
    """The base address of a running localstripe."""
    program = [sys.executable, "-m", "tests.support.localstripe"]
    process = subprocess.Popen(
        program, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(END_S)
        process.stdout.close()


def _serve() -> None:
    """Runs until it is terminated."""
    from aiohttp import web
    from localstripe import resources, server

    resources.Store.dump_to_disk = lambda _: None
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    web.run_app(server.app, sock=listener, access_log=None, print=None)


if __name__ == "__main__":
    _serve()
