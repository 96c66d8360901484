"""The app's client against a real media process, and against none."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.media import WAIT_S, media
from vault import MediaClient, Unreachable


async def test_no_media_process_is_unreachable(short_dir: Path) -> None:
    """Connect gives up after its timeout, with a code and a hint that trying again may help."""
    client = MediaClient(short_dir / "media.sock", short_dir / "media-keys.sock")
    with pytest.raises(Unreachable) as failure:
        await client.connect(0.3)
    assert ("media_unreachable", True) == (failure.value.code, failure.value.retryable)
    client.info_key("leg_1", 5)
    await client.close()


async def test_a_call_without_an_answer_times_out(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A media process that hangs: Unreachable, nobody waits for ever."""
    monkeypatch.setattr("vault.media.client.CALL_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(short_dir / "media.sock"))
        listener.listen(1)
        client = MediaClient(short_dir / "media.sock", short_dir / "media-keys.sock")
        with pytest.raises(Unreachable) as failure:
            await client.connect()
        assert "media_timeout" == failure.value.code
        await client.close()


async def test_pending_calls_fail_when_the_process_dies() -> None:
    """Kill -9 in the middle: Unreachable for the call, media.lost among the facts."""
    async with media() as rig:
        rig.process.send_signal(19)
        call = asyncio.create_task(rig.client.open_leg("leg_1", "caller"))
        await asyncio.sleep(0.1)
        rig.process.kill()
        with pytest.raises(Unreachable) as failure:
            await call
        assert "media_unreachable" == failure.value.code
        await rig.fact("media.lost")
        with pytest.raises(Unreachable):
            await rig.client.open_leg("leg_1", "caller")


async def test_many_calls_at_once_get_their_own_answers() -> None:
    """Replies are matched by id; 200 legs opened side by side have 200 ports."""
    async with media("--legs-max", "250") as rig:
        ports = await asyncio.gather(*(rig.client.open_leg(f"leg_{at}", "agent") for at in range(230)))
        assert 230 == len(set(ports))
        legs = await rig.client.legs()
        assert ports == [leg["port"] for leg in sorted(legs, key=lambda leg: int(leg["leg_id"][4:]))]


async def test_facts_end_with_close() -> None:
    """An app that closes its client is not left waiting."""
    async with media() as rig:
        await rig.client.close()
        await asyncio.wait_for(rig._reader, WAIT_S)


async def test_info_keys_go_by_datagram(short_dir: Path) -> None:
    """leg_id, NUL, one byte: nothing else, and nothing back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(short_dir / "media-keys.sock"))
        client = MediaClient(short_dir / "media.sock", short_dir / "media-keys.sock")
        client.info_key("leg_1", 11)
        assert b"leg_1\0\x0b" == inbox.recv(100)
        await client.close()
