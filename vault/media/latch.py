"""Whose packets a leg takes: the peer of the SDP, or the SIP source's address when it sits behind NAT.

The rule that this file owns (reference: RTP bleed, CVE-2017-16808 and kin): before the latch, only the
address of the SDP or the IP that the leg's SIP came from may become the peer, by a valid packet; after the
latch, nobody else, until signalling sets a new remote. The leg then connects its socket, so that the kernel
drops the rest.
"""

from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Latch:
    """Where to send, and who may still take that place."""

    sdp: Address
    source_ip: str = ""
    peer: Address | None = None
    """Set once by the first valid packet."""

    @property
    def target(self) -> Address:
        """Where this leg's packets go: the peer, and until it has spoken, the address of the SDP."""
        return self.peer or self.sdp

    def admits(self, sender: Address) -> bool:
        """Whether a packet from `sender` may be read at all."""
        if self.peer is not None:
            return sender == self.peer
        return sender == self.sdp or sender[0] in {self.sdp[0], self.source_ip}

    def latched(self, sender: Address) -> "Latch":
        """The latch after a valid packet from an admitted `sender`."""
        return Latch(self.sdp, self.source_ip, sender)

    def renewed(self, sdp: Address, source_ip: str) -> "Latch":
        """The latch after signalling: unchanged when it repeats itself, open for the new remote otherwise."""
        if (sdp, source_ip) == (self.sdp, self.source_ip):
            return self
        return Latch(sdp, source_ip)
