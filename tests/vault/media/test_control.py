"""The control sockets against everybody: bad messages, bad descriptors, bad users; the process goes on."""

import asyncio
import contextlib
import json
import os
import random
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.media import WAIT_S, Media, Pipe, media, until
from vault.hatch import knock
from vault.media.control import MESSAGE_MAX

OPS = {
    "media.sock": [
        *("open_leg", "set_remote", "bridge", "unbridge", "load_prompt", "unload_prompt", "play"),
        *("stop_play", "collect", "stop_collect", "close_leg", "stats", "ping", "legs"),
    ],
    "hatch": ["hello", "attach", "detach", "talk"],
}
FIELDS = [
    *("leg_id", "caller", "agent", "role", "port", "ip", "codec", "payload_type", "event_types", "direction"),
    *("source_ip", "prompt_id", "length", "play_id", "prompt_ids", "loop", "barge_in", "collect_id"),
    *("digits_max", "first_timeout_ms", "capture_id", "on", "resume", "first"),
]


class Raw:
    """A connection that says anything."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def ask(self, data: bytes, fds: tuple[int, ...] = ()) -> dict[str, Any] | None:
        """The reply to one message, None when the connection is ended."""
        socket.send_fds(self.sock, [data], fds)
        while True:
            reply = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            if not reply:
                return None
            message: dict[str, Any] = json.loads(reply)
            if "fact" not in message:
                return message


async def raw(rig: Media, name: str) -> Raw:
    if name == "hatch":
        return Raw(knock(rig.hatch))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    await asyncio.get_running_loop().sock_connect(sock, str(rig.run_dir / name))
    return Raw(sock)


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value of no particular kind."""
    plain = [
        None,
        True,
        -1,
        0,
        7,
        2**70,
        0.5,
        "",
        "leg_1",
        "caller",
        "PCMU",
        "127.0.0.1",
        "\0",
        "x" * 300,
        "ü\u2028",
    ]
    if depth < 2 and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(FIELDS): anything(rng, depth + 1) for _ in range(3)}
    return rng.choice(plain)


def nonsense(rng: random.Random, ops: list[str]) -> bytes:
    """A message that is wrong in one of many ways."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 400))
    if kind == 1:
        return json.dumps(anything(rng)).encode()[: rng.randrange(1, 200)]
    message = {"id": 5, "op": rng.choice([*ops, "mode", "", "x" * 99]) if kind == 2 else rng.choice(ops)}
    message |= {name: anything(rng) for name in rng.sample(FIELDS, rng.randrange(len(FIELDS)))}
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", ["media.sock", "hatch"])
async def test_no_message_brings_the_process_down(name: str) -> None:
    """1,000 messages of noise: each gets a reply, refusals with a code, and the next call works."""
    rng = random.Random(17)
    async with media() as rig:
        await rig.client.close()
        made = await raw(rig, name)
        for _ in range(1000):
            reply = await made.ask(nonsense(rng, OPS[name]))
            assert reply is not None
            assert reply["ok"] or {"code", "sentence", "retryable"} < set(reply)
        reply = await made.ask(b'{"id": 1, "op": "%s"}' % (b"ping" if name == "media.sock" else b"hello"))
        assert reply
        assert reply["ok"]
        made.sock.close()


async def test_sentences_never_quote_what_came_in() -> None:
    """A digit sequence in any field of a refused message is in no part of the reply."""
    mark = "1122334455667788"
    async with media() as rig:
        made = await raw(rig, "hatch")
        for op in ("attach", "talk", mark):
            for field in ("leg_id", "capture_id", "on"):
                reply = await made.ask(json.dumps({"id": 1, "op": op, field: mark}).encode())
                assert reply
                assert mark not in json.dumps(reply)
        made.sock.close()


async def test_messages_beyond_the_limit_are_refused() -> None:
    """One byte too many, or more descriptors than anybody needs."""
    async with media() as rig:
        made = await raw(rig, "hatch")
        padding = " " * (MESSAGE_MAX - len('{"id": 1, "op": "hello"}'))
        reply = await made.ask(b'{"id": 1, "op": "hello"}' + padding.encode())
        assert reply
        assert reply["ok"]
        reply = await made.ask(b'{"id": 1, "op": "hello"}' + padding.encode() + b" ")
        assert reply
        assert "bad_message" == reply["code"]
        number = os.memfd_create("x")
        reply = await made.ask(b'{"id": 1, "op": "hello"}', (number,) * 8)
        assert reply
        assert "bad_message" == reply["code"]
        os.close(number)
        made.sock.close()


def open_files(pid: int) -> int:
    """How many descriptors a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_descriptors_do_not_pile_up() -> None:
    """Whatever comes along with refused messages is closed."""
    async with media() as rig:
        made = await raw(rig, "hatch")
        await made.ask(b'{"id": 1, "op": "hello"}')
        before = open_files(rig.process.pid)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for op in ("attach", "hello", "nothing"):
            for _ in range(5):
                message = {"id": 1, "op": op, "leg_id": "nobody", "capture_id": "c"}
                await made.ask(json.dumps(message).encode(), (ours.fileno(), ours.fileno()))
                await made.ask(json.dumps(message).encode(), (ours.fileno(),))
        assert before == open_files(rig.process.pid)
        for closing in (ours, theirs, made.sock):
            closing.close()


async def test_prompts_come_in_a_memfd_only() -> None:
    """A pipe could block the process, a file lies on a disk; both are refused, and a short memfd too."""
    async with media() as rig:
        await rig.client.close()
        made = await raw(rig, "media.sock")
        read_end, write_end = os.pipe()
        file = os.open(rig.run_dir / "prompt", os.O_RDWR | os.O_CREAT)
        os.write(file, bytes(160))
        short = os.memfd_create("x")
        os.write(short, bytes(159))
        for number in (read_end, file, short):
            reply = await made.ask(
                b'{"id": 1, "op": "load_prompt", "prompt_id": "p", "length": 160}', (number,)
            )
            assert reply
            assert "bad_message" == reply["code"]
        for number in (read_end, write_end, file, short):
            os.close(number)
        made.sock.close()


async def test_sockets_are_for_our_own_user() -> None:
    """Mode 0600 on both; the broker's way in has no name that anybody could connect to."""
    async with media() as rig:
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in rig.run_dir.iterdir()}
        assert {"media.sock": 0o600, "media-keys.sock": 0o600} == modes


async def test_what_is_no_connection_opens_nothing() -> None:
    """Files, pipes, nothing and too much through the hatch: closed, and the broker is served as before."""
    async with media() as rig:
        broker = await rig.broker()
        await broker.call("hello")
        before = open_files(rig.process.pid)
        ends = os.pipe()
        stray = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for fds in ([], [ends[0]], [stray.fileno()], [stray.fileno()] * 5, [ends[0], ends[1]]):
            socket.send_fds(rig.hatch, [b"knock"], fds)
        assert (await broker.call("hello"))["ok"]
        await until(lambda: open_files(rig.process.pid) == before)
        stray.close()
        for number in ends:
            os.close(number)


@pytest.mark.root
async def test_another_user_is_turned_away() -> None:
    """Even with the sockets wide open, a foreign uid gets its connection closed and its keys dropped."""
    async with media() as rig:
        broker = await rig.broker()
        await rig.call()
        pipe: Pipe = await broker.attach("caller")
        rig.run_dir.chmod(0o755)
        for name in ("media.sock", "media-keys.sock"):
            (rig.run_dir / name).chmod(0o666)
        child = os.fork()
        if child == 0:
            answer = 1
            try:
                os.setuid(65_534)
                keys = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                keys.sendto(b"caller\0\x05", str(rig.run_dir / "media-keys.sock"))
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                sock.settimeout(WAIT_S)
                sock.connect(str(rig.run_dir / "media.sock"))
                answer = len(sock.recv(100))
            except ConnectionResetError:
                answer = 0
            finally:
                os._exit(answer)
        assert 0 == (await asyncio.to_thread(os.waitpid, child, 0))[1]
        assert [] == pipe.keys
        assert "SECURE" == await broker.mode("caller")


STARTS = (b"", b"\x80\x00", b"\x80\x65", b"\x90\x00", b"\xb3\xe5", b"\x80\xc8\x00\x06", b"\x81\xc9")


async def test_noise_on_every_port_is_survived() -> None:
    """Random RTP, RTCP and key datagrams, also from the peer itself: the call goes on."""
    rng = random.Random(23)
    async with media() as rig:
        caller, agent = await rig.call()
        keys = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        ip, port = caller.target
        for at in range(600):
            datagram = rng.choice(STARTS) + rng.randbytes(rng.randrange(200))
            caller.send(datagram, (ip, port + rng.randrange(2)))
            key = rng.choice([b"caller\0", b"caller", b""]) + rng.randbytes(rng.randrange(3))
            with contextlib.suppress(BlockingIOError):  # ten datagrams wait at most (net.unix.max_dgram_qlen)
                keys.sendto(key, str(rig.run_dir / "media-keys.sock"))
            if at % 50 == 0:
                await asyncio.sleep(0.01)
        keys.close()
        said = caller.say()
        await until(lambda: said in agent.payloads())
