"""The slow clock of the media process: lamps, silence, RTCP, timeouts, and orphans of a lost app.

Everything here may be half a second late. This file owns the 30 seconds after which orphan legs end.
"""

from typing import Final

from vault.media.capturing import Capturing
from vault.media.party import Party
from vault.media.player import TECHNICAL_PROBLEM
from vault.media.prompting import Prompting
from vault.media.relay import Relay

UPKEEP_MS: Final = 500.0
"""How often each leg is looked at; so its lamp changes at most twice a second."""
SILENT_MS: Final = 20_000.0
"""Neither RTP nor RTCP for so long is a lost peer: four of RTCP's shortest intervals (RFC 3550 §6.2)."""
REPORT_MS: Final = 5_000.0
"""RTCP interval (RFC 3550 §6.2)."""
ORPHAN_MS: Final = 30_000.0
"""The app restarts within seconds; a caller should not wait longer than this for somebody who is gone."""


class Upkeep:
    """Looks after all legs; `app_lost_ms` is when the app's connection ended, None while it stands."""

    def __init__(
        self, relay: Relay, prompting: Prompting, capturing: Capturing, orphan_ms: float = ORPHAN_MS
    ) -> None:
        self._relay = relay
        self._prompting = prompting
        self._capturing = capturing
        self._orphan_ms = orphan_ms
        self._due_ms = 0.0
        self.app_lost_ms: float | None = None

    def tick(self, now_ms: float, wall_s: float, units: int) -> None:
        """Does the round when it is due."""
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms + UPKEEP_MS
        for party in tuple(self._relay.parties.values()):
            self._look_after(party, now_ms, wall_s, units)
        if self.app_lost_ms is not None and now_ms - self.app_lost_ms >= self._orphan_ms:
            self._end_orphans()

    def _look_after(self, party: Party, now_ms: float, wall_s: float, units: int) -> None:
        self._lamp(party)
        self._silence(party, now_ms)
        if now_ms >= party.report_due_ms:
            party.report_due_ms = now_ms + REPORT_MS
            party.leg.send_report(now_ms, wall_s, units)

    def _lamp(self, party: Party) -> None:
        """Coarse: somebody speaks, or not; nothing of what, and no tone counts."""
        if party.ear is None:
            return
        speaking = self._relay.ears.detector.loud(party.ear.row)
        if speaking is not party.speaking:
            party.speaking = speaking
            self._relay.facts.app("leg.speaking", party.leg_id, {"on": speaking})

    def _silence(self, party: Party, now_ms: float) -> None:
        leg = party.leg
        if leg.packets != leg.heard_packets or leg.rtcp_heard_ms > leg.heard_ms or not leg.may_receive:
            leg.heard_packets, leg.heard_ms = leg.packets, now_ms
            if party.silent_told_s:
                party.silent_told_s = 0
                self._relay.facts.app("leg.heard", party.leg_id, {})
        seconds = int((now_ms - leg.heard_ms) // 1000)
        if (now_ms - leg.heard_ms) > SILENT_MS and seconds >= 2 * party.silent_told_s:
            party.silent_told_s = seconds
            self._relay.facts.app("leg.silent", party.leg_id, {"seconds": seconds})

    def _end_orphans(self) -> None:
        """Nobody steers these legs any more: say so to callers, then close."""
        for party in tuple(self._relay.parties.values()):
            if party.orphan and party.playing is not None:
                continue
            prompt = TECHNICAL_PROBLEM in self._relay.prompts
            if party.is_caller and not party.orphan and prompt and party.leg.may_send:
                party.orphan = True
                self._prompting.play(party, "", (TECHNICAL_PROBLEM,), loop=False, barge_in=False)
            else:
                self._capturing.close(party)

    def app_is_back(self) -> None:
        """The app steers again; legs that were about to end stay."""
        self.app_lost_ms = None
        for party in self._relay.parties.values():
            party.orphan = False
