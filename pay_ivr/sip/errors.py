"""What goes wrong in SIP, told apart by who has to change something: the peer (`Malformed`) or we.

Sentences are fixed texts and never quote input: a header can hold a caller's number, a body can hold keys.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pay_ivr.sip.wire import Request


class SipError(Exception):
    """Base of the family: `code` for programs, the sentence for people."""

    def __init__(self, code: str, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable


class Malformed(SipError):
    """The peer sent what the protocol forbids or we refuse to handle; the same bytes fail again.

    `status` is the answer a request deserves: 400, 413 body, 414 URI, 416 scheme, 420 extension, 488 media,
    505 version, 513 size. `request` is the part that could be read, without body, and set only when that
    part has what an answer needs (RFC 3261 §8.2.6); without it the message can only be dropped and counted.
    """

    def __init__(
        self, code: str, sentence: str, *, status: int = 400, request: "Request | None" = None
    ) -> None:
        super().__init__(code, sentence)
        self.status = status
        self.request = request


class LocalSipError(SipError):
    """We tried to build or do something that SIP has no place for: a mistake of ours, never the peer's."""
