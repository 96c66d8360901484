"""The broker's hands: cells from the spawner, key pipes into the media process.

Every method may raise `Refused` (the other process said no, with its own code) or `Unreachable`.
Descriptors are closed here as soon as they are handed over; the broker never holds an end of a key pipe
that could read a key.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vault.door import PinPurpose, Refused, Unreachable, VaultError
from vault.pin_capture import PinForm
from vault.wire import Dial, Json, Line, close_all

LINE_WAIT_S = 1.0
"""How long a request waits for a line that is being dialled, as right after a start: five tries."""
NO_PIPE = -1
"""In place of a key pipe's end, for a cell into which nobody keys."""
HELLO_PAGES_MAX = 100
"""Pages of legs asked of media at once; 200 legs each, far more than one process carries."""


@dataclass(frozen=True)
class Forked:
    """A new cell: its pid, media's end of its key pipe, our end of its report socket."""

    pid: int
    key_pipe: int
    report: socket.socket


@dataclass(frozen=True)
class GuardedLeg:
    """A caller's leg as media sees it."""

    leg_id: str
    mode: str
    capture_id: str


class Zone:
    """The spawner and the media process of this node, as the broker uses them."""

    def __init__(
        self,
        media: Dial,
        spawner: Dial,
        *,
        on_media_fact: Callable[[Json], None],
        on_media_up: Callable[[], None],
        on_media_down: Callable[[], None],
        on_spawner_up: Callable[[], object],
    ) -> None:
        """`media`, `spawner`: how they are reached, each through its hatch."""
        self._media = Line(media, on_fact=on_media_fact, on_up=on_media_up, on_down=on_media_down)
        self._spawner = Line(spawner, on_fact=lambda _fact: None, on_up=on_spawner_up, on_down=lambda: None)

    @property
    def media_up(self) -> bool:
        """True while the media process is connected."""
        return self._media.up

    def start(self) -> None:
        """Begins dialling both."""
        self._media.start()
        self._spawner.start()

    async def stop(self) -> None:
        """Closes both connections; media keeps every leg in its mode."""
        await asyncio.gather(self._media.stop(), self._spawner.stop())

    async def posture(self) -> tuple[str, ...]:
        """What a cell of this machine lacks; empty is the good case."""
        reply, _ = await self._spawner.ask("posture")
        return tuple(str(item) for item in reply["weak"])

    async def fork_pin(self, capture_id: str, purpose: PinPurpose, form: PinForm, *, sealed: bool) -> Forked:
        """A new cell for one PIN; `sealed`: nobody keys into it, and `key_pipe` is -1."""
        digits = {"digits_min": form.digits_min, "digits_max": form.digits_max}
        values = {"capture_id": capture_id, "purpose": purpose.value, **digits, "sealed": sealed}
        return await self._fork("fork_pin", values, pipes=0 if sealed else 1)

    async def fork(self, capture_id: str, provider: str, tenant: str, config: dict[str, Any]) -> Forked:
        """A new cell for one capture."""
        values = {
            "capture_id": capture_id,
            "provider": provider,
            "tenant": tenant,
            "config": config,
            "limits": {},
        }
        return await self._fork("fork", values, pipes=1)

    async def _fork(self, op: str, values: Json, pipes: int) -> Forked:
        try:
            await self._spawner.wait_up(LINE_WAIT_S)
            reply, descriptors = await self._spawner.ask(op, values)
        except Unreachable:
            raise Unreachable(
                "spawner_unreachable", "No cell can be started now. Try again.", retryable=True
            ) from None
        if len(descriptors) != 1 + pipes:
            close_all(descriptors)
            raise Unreachable("spawner_unreachable", "The spawner answered without a cell.", retryable=True)
        key_pipe = descriptors[0] if pipes else NO_PIPE
        return Forked(reply["pid"], key_pipe, socket.socket(fileno=descriptors[-1]))

    async def kill(self, pid: int) -> None:
        """Ends a cell whatever it does; quiet when it or the spawner is gone already."""
        with suppress(VaultError):
            await self._spawner.ask("kill", {"pid": pid})

    async def attach(self, leg_id: str, capture_id: str, key_pipe: int) -> None:
        """SECURE in force with the leg's keys going into `key_pipe`, which is handed over for good."""
        try:
            await self._media.wait_up(LINE_WAIT_S)
            await self._media.ask("attach", {"leg_id": leg_id, "capture_id": capture_id}, (key_pipe,))
        except Unreachable:
            raise Unreachable(
                "media_unreachable", "The media process does not answer. Try again.", retryable=True
            ) from None
        finally:
            os.close(key_pipe)

    async def detach(self, leg_id: str) -> None:
        """NORMAL as soon as the pipe is closed and the caller quiet; quiet when the leg is gone."""
        with suppress(VaultError):
            await self._media.ask("detach", {"leg_id": leg_id})

    async def talk(self, leg_id: str, *, on: bool) -> None:
        """The TALK gate on or off; `Refused` when nothing is captured on the leg."""
        await self._media.ask("talk", {"leg_id": leg_id, "on": on})

    async def guarded_legs(self) -> tuple[GuardedLeg, ...]:
        """Every caller's leg of the media process."""
        legs: list[GuardedLeg] = []
        for _ in range(HELLO_PAGES_MAX):
            reply, _ = await self._media.ask("hello", {"first": len(legs)})
            page = [GuardedLeg(leg["leg_id"], leg["mode"], leg["capture_id"]) for leg in reply["legs"]]
            legs += page
            if not page or len(legs) >= int(reply.get("count", len(legs))):
                break
        return tuple(legs)


def key_pipe() -> tuple[int, int]:
    """A new key pipe: media's end and the cell's end."""
    try:
        media_end, cell_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        raise Refused(
            "descriptors_used", "Too many captures at once. Try again later.", retryable=True
        ) from None
    return media_end.detach(), cell_end.detach()
