"""Prompts to a leg and open digits from it, as a flow asks for them.

This file owns barge-in: a key stops a prompt that allows it, and is then still good for its collection or its
capture.
"""

from collections.abc import Sequence

from vault.door import Refused
from vault.media.collection import Collection, Outcome
from vault.media.party import Party
from vault.media.player import Playing
from vault.media.relay import Relay
from vault.media.shield import Guard


class Prompting:
    """Play, collect, and what ends either."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._collecting: dict[Party, Collection] = {}
        relay.on_played = self.finished

    def play(
        self, party: Party, play_id: str, prompt_ids: Sequence[str], *, loop: bool, barge_in: bool
    ) -> None:
        """Play prompts one after the other, in place of the partner's audio and of any earlier prompt."""
        prompts = self._relay.prompts.find(prompt_ids)
        self.stop(party)
        party.playing = Playing(play_id, prompts, loop=loop, barge_in=barge_in)
        if party.collection is not None and not loop:
            party.collection.hold()
        self._relay.rewire(party)

    def stop(self, party: Party, outcome: str = "stopped") -> None:
        """End the prompt that plays, if one does."""
        playing = party.playing
        if playing is None:
            return
        party.playing = None
        self._relay.rewire(party)
        self._relay.facts.app("play.done", party.leg_id, {"play_id": playing.play_id, "outcome": outcome})
        self._start_clock(party)

    def finished(self, party: Party) -> None:
        """The prompt has come to its end."""
        self.stop(party, "finished")

    def barge_in(self, party: Party) -> None:
        """A key was pressed: stop a prompt that allows it."""
        if party.playing is not None and party.playing.barge_in:
            self.stop(party, "key")

    def collect(self, party: Party, collection: Collection, *, ahead: bool = True) -> None:
        """Start an open collection, in place of an earlier one; Refused while a capture holds the leg.

        `ahead`: keys pressed since the last question count; without it they are dropped.
        """
        if not party.is_caller:
            raise Refused("leg_role", "Keys are heard on a caller's leg only.")
        if party.guard is not Guard.OPEN:
            raise Refused("leg_secure", "A capture holds the leg; open digits wait for its end.")
        self.end_collection(party, Outcome.STOPPED)
        party.collection = self._collecting[party] = collection
        self._start_clock(party)
        if not ahead:
            party.ahead.forget()
        outcome = party.ahead.pour(collection, self._relay.now_ms)
        if outcome is not None:
            self.end_collection(party, outcome)

    def press(self, party: Party, key: int, now_ms: float) -> bool:
        """Give a key to the leg's collection, or keep it for the next; False when none is to be expected.

        A digit that is too many in its run spoils the collection: what is left of it would be misread.
        """
        fits = party.run.takes(key, now_ms)
        if party.collection is None:
            return party.ahead.keep(key, now_ms, fits=fits)
        if not fits:
            party.collection.spoil(now_ms)
            return True
        outcome = party.collection.press(key, now_ms)
        if outcome is not None:
            party.ahead.open(now_ms)
            self.end_collection(party, outcome)
        return True

    def tick(self, now_ms: float) -> None:
        """End collections whose time is over; to be called every 20 ms."""
        for party, collection in tuple(self._collecting.items()):
            outcome = collection.tick(now_ms)
            if outcome is not None:
                party.ahead.open(now_ms)
                self.end_collection(party, outcome)

    def end_collection(self, party: Party, outcome: Outcome) -> None:
        """End the leg's collection, if there is one, and wipe it; only a flow's own end carries digits."""
        collection = party.collection
        if collection is None:
            return
        party.collection = None
        self._collecting.pop(party, None)
        kept = outcome in {Outcome.DONE, Outcome.TOO_FEW}
        values: dict[str, object] = {
            "collect_id": collection.collect_id,
            "outcome": outcome.value,
            "digits": collection.digits() if kept else "",
        }
        collection.wipe()
        self._relay.facts.app("collect.done", party.leg_id, values)

    def _start_clock(self, party: Party) -> None:
        """A caller has the whole first timeout after the prompt: the clock waits for its end."""
        if party.collection is not None and (party.playing is None or party.playing.loop):
            party.collection.wait(self._relay.now_ms)
