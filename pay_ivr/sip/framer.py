"""Messages out of a byte stream: RFC 3261 §18.3, keep-alives of RFC 5626 §3.5.1.

On a stream Content-Length is the only thing that ends a message, so it must be there and right; whatever
breaks framing breaks the connection. Bytes that were handed out are overwritten in the buffer.
"""

from collections.abc import Iterator

from pay_ivr.sip.errors import Malformed
from pay_ivr.sip.uri import URI_LENGTH_MAX
from pay_ivr.sip.wire import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    content_length,
    read_head,
    refused,
)

FIRST_LINE_MAX = URI_LENGTH_MAX + 256
"""Bytes until the first line must have ended: the longest URI, a method, a version, with room to spare."""

_HEAD_END = b"\r\n\r\n"


class StreamFramer:
    """One connection's input: feed it what was read, take whole messages out.

    After `Malformed` from `frames` the stream has lost its framing: answer `request` if it is set, then
    close the connection; the framer gives nothing any more.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._size = 0
        self._broken = False

    @property
    def waiting(self) -> int:
        """Bytes of an unfinished message; a connection may be reaped when they stay too long."""
        return len(self._buffer)

    def frames(self, data: bytes | bytearray) -> Iterator[bytearray]:
        """Each message that `data` completes, as the bytes `info.cut` and then `wire.parse` take.

        The data is taken at the call, the frames on iteration. Raises `Malformed` behind the last whole one.
        """
        if not self._broken:
            self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[bytearray]:
        while not self._broken:
            try:
                self._skip_keep_alives()
                self._size = self._size or self._measured()
            except Malformed:
                self._broken = True
                self._drop(len(self._buffer))
                raise
            if not self._size or len(self._buffer) < self._size:
                return
            frame = self._buffer[: self._size]
            self._drop(self._size)
            yield frame

    def _measured(self) -> int:
        """Bytes of the first message, body included; 0 until its headers have ended."""
        end = self._buffer.find(_HEAD_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(_HEAD_END) + 1)
            self._check_unfinished()
            return 0
        message, _ = read_head(bytes(self._buffer[: min(end, HEADER_BYTES_MAX)]))
        if end > HEADER_BYTES_MAX:
            raise refused(message, _headers_long())
        try:
            length = content_length(message.headers)
        except Malformed as error:
            raise refused(message, error) from None
        if length is None:
            raise refused(message, Malformed("no_content_length", "A stream needs a Content-Length."))
        if length > BODY_BYTES_MAX:
            raise refused(message, Malformed("body_too_large", "The body is too large.", status=413))
        return end + len(_HEAD_END) + length

    def _check_unfinished(self) -> None:
        """Refuse early what can never become a message: no SIP in the first line, or headers without end."""
        line, end, _ = bytes(self._buffer[: FIRST_LINE_MAX + 2]).partition(b"\r\n")
        if b"SIP/" not in line.upper() and (end or len(line) > FIRST_LINE_MAX):
            raise Malformed("stream_garbage", "The stream does not carry SIP.")
        if len(self._buffer) > HEADER_BYTES_MAX + len(_HEAD_END):
            message, _ = read_head(bytes(self._buffer[:HEADER_BYTES_MAX]))
            raise refused(message, _headers_long())

    def _skip_keep_alives(self) -> None:
        """Drop line ends in front of a message; they may go on for days and take no room."""
        idle = next((at for at, byte in enumerate(self._buffer) if byte not in b"\r\n"), len(self._buffer))
        if idle:
            self._drop(idle)

    def _drop(self, size: int) -> None:
        """Forget the first bytes, overwritten before their memory is given back."""
        self._buffer[:size] = bytes(size)
        del self._buffer[:size]
        self._searched = self._size = 0


def _headers_long() -> Malformed:
    return Malformed("headers_long", "The headers are larger than we read.", status=513)
