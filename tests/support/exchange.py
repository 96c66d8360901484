"""A switchboard with real SIP cores on a fake network, and a media and a vault that only take notes.

The test is the trunk and the agents' phones; time passes when it calls `settle`.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from pay_ivr.call import CallState
from pay_ivr.catalogue import Catalogue
from pay_ivr.flow import Flows
from pay_ivr.settings import Settings
from pay_ivr.sip.dialog import hop_of
from pay_ivr.sip.invite import InviteLeg, LegObserver
from pay_ivr.sip.outgoing import Invitation
from pay_ivr.sip.registrar import Contact
from pay_ivr.speaker import Shelf
from pay_ivr.speech import Speech
from pay_ivr.switchboard import Switchboard
from pay_ivr.tenants import Did, Numbers, Telephony, Tenant
from tests.support.sipnet import Net, Node, Observed
from vault import MediaClient, MediaFact, NewPinEntry, PinEntry, Refused, Unreachable

TRUNK, US = "192.0.2.10", "192.0.2.1"
AGENTS = {"agent1": "192.0.2.21", "agent2": "192.0.2.22"}
ASSISTED, ALONE, HANDED_OVER = "4930100001", "4930100002", "4930100003"


class Notes:
    """A journal and a set of payment codes that nobody reads."""

    def record(self, event: str, call: object) -> None:
        """Nothing to keep."""

    async def close(self, code: str, *, paid: bool) -> None:
        """Nothing to free."""


class QuietMedia:
    """Does what it is told, at once; `broken` names the orders that fail."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.broken: set[str] = set()
        self.slow = asyncio.Event()
        """Cleared: `open_leg` is done, its answer under way."""
        self.slow.set()
        self.secure_for = 0
        """So often `collect` is refused: a capture on the leg is just ending."""
        self.facts_out: asyncio.Queue[MediaFact] = asyncio.Queue()

    def _do(self, order: str) -> None:
        self.told.append(order)
        if order in self.broken:
            raise Unreachable("media_unreachable", "Media does not answer.", retryable=True)

    async def open_leg(self, *_values: object, **_more: object) -> int:
        self._do("open_leg")
        await self.slow.wait()
        return 4000

    async def set_remote(self, *_values: object) -> None:
        self._do("set_remote")

    async def bridge(self, *_values: object) -> None:
        self._do("bridge")

    async def close_leg(self, *_values: object) -> None:
        self._do("close_leg")

    async def load_prompt(self, *_values: object) -> None:
        self._do("load_prompt")

    async def unload_prompt(self, *_values: object) -> None:
        self._do("unload_prompt")

    async def stop_play(self, *_values: object) -> None:
        self._do("stop_play")

    async def collect(self, leg_id: str, collect_id: str, **wanted: object) -> None:
        self._do("collect")
        if self.secure_for:
            self.secure_for -= 1
            raise Refused("leg_secure", "A capture holds the leg.")
        values = {"collect_id": collect_id, "outcome": "done", "digits": "4711"}
        await self.facts_out.put(MediaFact("collect.done", leg_id, values))

    async def play(
        self, leg_id: str, play_id: str, _prompts: object, *, barge_in: bool, loop: bool = False
    ) -> None:
        self._do("music" if loop else "play")
        if loop:
            return
        await self.facts_out.put(MediaFact("play.done", leg_id, {"play_id": play_id, "outcome": "finished"}))

    async def facts(self) -> Any:
        while True:
            yield await self.facts_out.get()


class QuietVault:
    """A door on which nobody knocks, but to have a PIN keyed: `entries` are those that were opened."""

    def __init__(self) -> None:
        self.entries: list[PinEntry] = []

    async def open_pin(self, new: NewPinEntry) -> PinEntry:
        number, head = len(self.entries), (new.tenant, new.member_id, new.call_id, new.leg_id)
        entry = PinEntry(f"pin_{number}", *head, new.purpose, field=None, digits=0, secure=True, result=None)
        self.entries.append(entry)
        return entry

    async def end_call(self, call_id: str) -> None:
        """Nothing is open."""


class Voice:
    """Speaks at once."""

    version = "test"

    async def speak(self, tag: str, text: str) -> bytes:
        return b"\xff" * 160

    async def close(self) -> None:
        """Nothing to end."""


class House:
    """The switchboard `board` at `US`; phones of both agents; the trunk calls with `call`.

    `media`: a connected client of a real media process, in place of the quiet one. `others`: tenants beside
    the one that is called.
    """

    def __init__(
        self,
        folder: Path,
        media: MediaClient | None = None,
        others: Mapping[str, Tenant] = MappingProxyType({}),
        calls_max: int = 500,
    ) -> None:
        self.net = Net()
        self.trunk = Node(self.net, TRUNK)
        self.phones = {user: Node(self.net, ip) for user, ip in AGENTS.items()}
        self.media = QuietMedia()
        self.vault = QuietVault()
        dids = (
            Did(number=ASSISTED, flow="agent_assisted", agents=tuple(AGENTS)),
            Did(number=ALONE, flow="unattended_payment"),
            Did(number=HANDED_OVER, flow="unattended_payment", agents=tuple(AGENTS)),
        )
        tenant = Tenant("demo", "Demo Travel", live=False, telephony=Telephony(did=dids))
        steered: Any = media or self.media
        self.shelf = Shelf(steered, Speech(Catalogue(), folder, Voice()))
        notes: Any = Notes()
        self.board = Switchboard(
            Settings(data_dir=folder, trunk_ips=TRUNK, bind_ip=US, calls_max=calls_max),
            Numbers({"demo": tenant, **others}),
            self.vault,  # type: ignore[arg-type]
            steered,
            self.shelf,
            notes,
            notes,
            Flows(),
        )
        self.node = Node(self.net, US)
        self.node.core = type(self.node.core)(
            self.node, self.node.core._settings, self.board.on_invite, self.node.registrar
        )
        self.board.attach(SimpleNamespace(invite=self._invite), self)  # type: ignore[arg-type]
        self.facts = asyncio.ensure_future(self.board.follow_media())

    def lookup(self, user: str) -> list[Contact]:
        """Where an agent's phone is: both are always registered."""
        uri = f"sip:{user}@{AGENTS[user]}"
        return [Contact(uri, hop_of(uri), expires_at=1e9)]

    def _invite(
        self,
        phone: Contact,
        offer: bytes,
        *,
        from_uri: str,
        observer: LegObserver,
        ring_timeout_s: float,
        **_: object,
    ) -> InviteLeg:
        number = len(self.net.sent)
        wish = Invitation(
            target_uri=phone.uri,
            hop=phone.flow,
            offer=offer,
            from_value=f"<{from_uri}>;tag=u{number}",
            to_value=f"<{phone.uri}>",
            call_id=f"out-{number}",
            ring_timeout_s=ring_timeout_s,
        )
        return self.node.core.invite(wish, observer)

    def call(self, number: str, **values: Any) -> Observed:
        """The trunk calls a number of the house."""
        return self.trunk.call(f"{number}@{US}", **values)[1]

    def phones_do(self, user: str, decide: Callable[[InviteLeg], None]) -> None:
        """What an agent's phone does with a call."""
        self.phones[user].decide = decide

    async def settle(self, seconds: float = 0.2) -> None:
        """Network and tasks take turns until nothing more happens within `seconds` of the fake clock."""
        for _ in range(20):
            self.net.clock.run(seconds / 20)
            for _ in range(10):
                await asyncio.sleep(0)

    async def ended(self) -> None:
        """Until a call has ended; prompts are rendered and written by threads, so that takes real time."""
        async with asyncio.timeout(10):
            while not self.board._ended:
                self.net.clock.run(0.01)
                await asyncio.sleep(0.01)
        await self.settle()

    @property
    def states(self) -> list[CallState]:
        """States of all calls there have been, live ones first."""
        calls = [*self.board._live.values(), *self.board._ended]
        return [one.call.state for one in calls]

    @property
    def reasons(self) -> list[str | None]:
        """Why the ended calls ended."""
        return [one.call.end_reason for one in self.board._ended]

    async def close(self) -> None:
        """No task is left."""
        self.facts.cancel()
        await asyncio.gather(self.facts, return_exceptions=True)
        await self.board.close()
