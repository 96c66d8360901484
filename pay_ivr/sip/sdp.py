"""Offer and answer for what the relay carries, one G.711 stream with telephone-events: RFC 8866, RFC 3264.

Every other media line is refused with port 0 in its place (RFC 3264 §6). Hold is understood in both ways,
by direction and by the address 0.0.0.0 of RFC 2543. We only ever write our own address, our own payload
types in an offer, and the peer's payload types in an answer to it.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pay_ivr.sip.errors import Malformed

SDP_BYTES_MAX = 16_384
"""One description; ours have 300 bytes, a browser's with all its candidates about 10,000."""
SDP_LINES_MAX = 512
"""Lines of one description; a browser's offer has about 200."""
SDP_LINE_MAX = 2_048
"""Characters of one line; the longest legal ones are keys and fingerprints of a few hundred."""
MEDIA_MAX = 8
"""Media lines; a desk phone sends audio, video, presentation, data: four."""
PAYLOADS_MAX = 48
"""Payload types of one media line; the dynamic range has 32, the static one that phones use about 10."""

PORT_MAX = 65_535
PAYLOAD_TYPE_MAX = 127
PTIME_MS_MAX = 200
"""A longer packet time is a mistake: more than any phone offers."""

CLOCK_RATE = 8000
"""Samples a second of the two codecs we relay."""
STATIC_TYPES = {"PCMU": 0, "PCMA": 8}
"""RFC 3551 §6: the payload types that need no rtpmap."""
CODECS = ("PCMU", "PCMA")
"""What we offer, best first: the order matters to nobody but the peer."""
EVENT_NAME = "telephone-event"
EVENT_TYPE = 101
"""The payload type we offer for RFC 4733 events; 101 is what most gateways expect."""
EVENT_RANGE = "0-15"
"""The sixteen keys; flash and the tones of RFC 4733 mean nothing here."""
PACKET_MS = 20
"""Our packet time; the relay's clock ticks at it."""
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
RTP_PROFILE = "RTP/AVP"
"""The only profile the relay speaks: no SRTP, no feedback."""

_TOKEN = re.compile(r"[!#$%&'*+./0-9A-Z^_`a-z{|}~-]+")
_NUMBER = re.compile(r"[0-9]{1,20}")
_RTPMAP = re.compile(r"([0-9]{1,3}) +([!#$%&'*+.0-9A-Z^_`a-z{|}~-]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_FMTP = re.compile(r"([0-9]{1,3}) +(.*)")


@dataclass(frozen=True)
class Codec:
    """One payload type of a media line with its rtpmap and fmtp."""

    payload_type: int
    name: str
    """Upper case, `TELEPHONE-EVENT` included; empty when neither rtpmap nor RFC 3551 names it."""
    rate: int
    channels: int = 1
    fmtp: str = ""


@dataclass(frozen=True)
class AudioMedia:
    """The one audio line we could relay, as the peer wrote it."""

    index: int
    """Its place among the media lines."""
    ip: str
    """IPv4 or IPv6 without brackets; never an unspecified address, see `on_hold_address`."""
    port: int
    codecs: tuple[Codec, ...]
    """In the peer's order of preference."""
    direction: str = "sendrecv"
    """What the PEER says it does (RFC 8866 §6.7)."""
    ptime_ms: int = PACKET_MS
    on_hold_address: bool = False
    """True when the peer gave 0.0.0.0 or :: as its address: it wants nothing sent (RFC 2543 hold)."""


@dataclass(frozen=True)
class MediaLine:
    """One m= line in full, so that an answer can refuse it in its place."""

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]


@dataclass(frozen=True)
class Sdp:
    """One description: its identity, its media lines in order, and the audio among them that we can carry."""

    session_id: int
    version: int
    media: tuple[MediaLine, ...]
    audio: AudioMedia | None
    """The first audio line over plain RTP with a port; None when there is none."""


@dataclass(frozen=True)
class Negotiated:
    """What both sides agreed on: where the peer wants its RTP, and what WE may do."""

    ip: str
    port: int
    codec: str
    """`PCMU` or `PCMA`."""
    payload_type: int
    event_types: tuple[tuple[int, int], ...]
    """Payload types of telephone-events with their clock rates in Hz, every rate the peer named."""
    direction: str
    """sendrecv, sendonly (the peer only listens), recvonly (the peer holds us), inactive."""
    changed: bool = field(default=True, compare=False)
    """False when it equals what was agreed before."""


# -- Reading


def parse_sdp(data: bytes) -> Sdp:
    """The description in `data`.

    Raises `Malformed` 400 for broken or oversized text and 488 for an address that media cannot use.
    """
    lines = _lines(data)
    if lines[:1] != [("v", "0")]:
        raise Malformed("sdp_version", "The description does not start with version 0.")
    head, *sections = _sections(lines)
    session_id, version = _origin(head)
    if len(sections) > MEDIA_MAX:
        raise Malformed("sdp_media", "There are more media lines than we read.")
    media = tuple(_media_line(section[0][1]) for section in sections)
    index = next((i for i, line in enumerate(media) if _carried(line)), None)
    audio = None if index is None else _audio(index, media[index], head, sections[index])
    return Sdp(session_id, version, media, audio)


def _lines(data: bytes) -> list[tuple[str, str]]:
    """Type and value of each line; lone line feeds (RFC 8866 §5) and blanks at the end of a line pass."""
    if len(data) > SDP_BYTES_MAX:
        raise Malformed("sdp_large", "The description is larger than we read.")
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > SDP_LINES_MAX:
        raise Malformed("sdp_lines", "The description has more lines than we read.")
    for line in lines:
        typed = line[1:2] == "=" and line[0].isascii() and line[0].islower()
        if not typed or len(line) > SDP_LINE_MAX or "\r" in line or "\0" in line:
            raise Malformed("sdp_line", "A line of the description is broken.")
    return [(line[0], line[2:].rstrip(" \t")) for line in lines]


def _sections(lines: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The lines before the first m=, then one list for each media line that starts with it."""
    sections: list[list[tuple[str, str]]] = [[]]
    for kind, value in lines:
        if kind == "m":
            sections.append([])
        sections[-1].append((kind, value))
    return sections


def _origin(head: list[tuple[str, str]]) -> tuple[int, int]:
    """Session id and version of the one o= line; some phones put blanks into the user name before them."""
    origins = [value.rsplit(" ", 5) for kind, value in head if kind == "o"]
    if len(origins) != 1 or len(origins[0]) != 6:
        raise Malformed("sdp_origin", "The description has no readable origin.")
    session_id, version = origins[0][1:3]
    if not _NUMBER.fullmatch(session_id) or not _NUMBER.fullmatch(version):
        raise Malformed("sdp_origin", "The description has no readable origin.")
    return int(session_id), int(version)


def _media_line(value: str) -> MediaLine:
    kind, _, rest = value.partition(" ")
    port, _, rest = rest.partition(" ")
    profile, *formats = rest.split(" ")
    number, _, count = port.partition("/")
    if not formats or not all(_TOKEN.fullmatch(word) for word in (kind, profile, *formats)):
        raise Malformed("sdp_media_line", "A media line is broken.")
    if not _NUMBER.fullmatch(number) or int(number) > PORT_MAX:
        raise Malformed("sdp_media_line", "A media line is broken.")
    if len(formats) > PAYLOADS_MAX:
        raise Malformed("sdp_payloads", "A media line names more payload types than we read.")
    if count not in {"", "1"}:
        raise Malformed("sdp_ports", "A media line wants more than one port.", status=488)
    return MediaLine(kind, int(number), profile, tuple(formats))


def _carried(line: MediaLine) -> bool:
    return line.kind == "audio" and line.profile.upper() == RTP_PROFILE and line.port > 0


def _audio(
    index: int, line: MediaLine, head: list[tuple[str, str]], section: list[tuple[str, str]]
) -> AudioMedia:
    attributes = [value for kind, value in section if kind == "a"]
    ip, on_hold = _connection(section, head)
    return AudioMedia(
        index=index,
        ip=ip,
        port=line.port,
        codecs=_codecs(line.formats, attributes),
        direction=_direction(attributes) or _direction([v for k, v in head if k == "a"]) or "sendrecv",
        ptime_ms=_ptime(attributes),
        on_hold_address=on_hold,
    )


def _connection(section: list[tuple[str, str]], head: list[tuple[str, str]]) -> tuple[str, bool]:
    """Address of the media line, or of the whole description, and whether it is the one that means hold."""
    lines = [value for kind, value in section if kind == "c"] or [v for k, v in head if k == "c"]
    parts = lines[0].split(" ") if lines else []
    if len(parts) != 3 or parts[0] != "IN" or parts[1] not in {"IP4", "IP6"}:
        raise Malformed("sdp_connection", "The audio has no readable connection line.")
    try:
        address = ipaddress.ip_address(parts[2])
    except ValueError:
        raise Malformed("sdp_address", "The audio address is not an IP address.", status=488) from None
    if address.version != int(parts[1][2]):
        raise Malformed("sdp_connection", "The audio has no readable connection line.")
    if address.is_multicast or parts[2] == "255.255.255.255":
        raise Malformed("sdp_address", "The audio address is no single host.", status=488)
    return str(address), address.is_unspecified


def _codecs(formats: Iterable[str], attributes: list[str]) -> tuple[Codec, ...]:
    """Every numeric payload type once, named by its rtpmap or by RFC 3551."""
    maps = _rtpmaps(attributes)
    fmtps = _fmtps(attributes)
    static = {number: (name, CLOCK_RATE, 1) for name, number in STATIC_TYPES.items()}
    codecs: dict[int, Codec] = {}
    for text in formats:
        if not _NUMBER.fullmatch(text) or int(text) > PAYLOAD_TYPE_MAX:
            raise Malformed("sdp_payload", "A payload type is no number up to 127.")
        number = int(text)
        name, rate, channels = maps.get(number) or static.get(number) or ("", CLOCK_RATE, 1)
        codecs.setdefault(number, Codec(number, name, rate, channels, fmtps.get(number, "")))
    return tuple(codecs.values())


def _rtpmaps(attributes: list[str]) -> dict[int, tuple[str, int, int]]:
    maps: dict[int, tuple[str, int, int]] = {}
    for text in _values("rtpmap", attributes):
        match = _RTPMAP.fullmatch(text.strip())
        if match is None:
            raise Malformed("sdp_rtpmap", "An rtpmap is broken.")
        maps.setdefault(int(match[1]), (match[2].upper(), int(match[3]), int(match[4] or 1)))
    return maps


def _fmtps(attributes: list[str]) -> dict[int, str]:
    matches = [_FMTP.fullmatch(text) for text in _values("fmtp", attributes)]
    return {int(match[1]): match[2] for match in matches if match is not None}


def _values(name: str, attributes: list[str]) -> list[str]:
    return [value.partition(":")[2] for value in attributes if value.partition(":")[0] == name]


def _direction(attributes: list[str]) -> str | None:
    """The one direction among attributes; two different ones cannot both be meant."""
    found = {value for value in attributes if value in DIRECTIONS}
    if len(found) > 1:
        raise Malformed("sdp_direction", "The description names two directions.")
    return next(iter(found), None)


def _ptime(attributes: list[str]) -> int:
    """The packet time the peer likes; ours stays 20 ms, so an odd value is no reason to refuse a call."""
    values = [text for text in _values("ptime", attributes) if _NUMBER.fullmatch(text)]
    return int(values[0]) if values and 0 < int(values[0]) <= PTIME_MS_MAX else PACKET_MS


# -- Agreeing


def offer(
    ip: str,
    port: int,
    *,
    version: int = 1,
    session_id: int = 1,
    codecs: Sequence[str] = CODECS,
    direction: str = "sendrecv",
) -> bytes:
    """Our description for a leg, first or repeated; `version` grows by one with each change (RFC 3264 §8)."""
    chosen = [Codec(STATIC_TYPES[name], name, CLOCK_RATE) for name in codecs]
    events = [Codec(EVENT_TYPE, EVENT_NAME, CLOCK_RATE, fmtp=EVENT_RANGE)]
    lines = _our_media(port, [*chosen, *events], direction)
    return _text([*_our_head(ip, session_id, version), *lines])


def answer(
    remote: Sdp,
    ip: str,
    port: int,
    *,
    version: int = 1,
    session_id: int = 1,
    codecs: Sequence[str] = CODECS,
    direction: str = "sendrecv",
    before: Negotiated | None = None,
) -> tuple[bytes, Negotiated]:
    """Our answer to the peer's offer and what was agreed; `direction` is the most we want to do.

    The first codec of the peer's list that we speak wins. `before` is what the leg had until now. Raises
    `Malformed` 488 without audio that both speak.
    """
    audio, codec, agreed = _agree(remote, codecs, direction, before)
    ours = [codec, *_events(audio)]
    lines = _our_head(ip, session_id, version)
    for index, media in enumerate(remote.media):
        if index == audio.index:
            lines += _our_media(port, ours, agreed.direction)
        else:
            lines.append(f"m={media.kind} 0 {media.profile} {' '.join(media.formats)}")
    return _text(lines), agreed


def accept(
    remote_answer: Sdp,
    *,
    codecs: Sequence[str] = CODECS,
    direction: str = "sendrecv",
    before: Negotiated | None = None,
) -> Negotiated:
    """What was agreed by the peer's answer to an offer of ours with the same `codecs` and `direction`.

    Raises `Malformed` 488 when the peer refused our audio or answered with something we did not offer.
    """
    _, _, agreed = _agree(remote_answer, codecs, direction, before)
    return agreed


def _agree(
    remote: Sdp, codecs: Sequence[str], direction: str, before: Negotiated | None
) -> tuple[AudioMedia, Codec, Negotiated]:
    audio = remote.audio
    if audio is None:
        raise Malformed("sdp_no_audio", "There is no audio that we can carry.", status=488)
    codec = next((codec for codec in audio.codecs if _spoken(codec, codecs)), None)
    if codec is None:
        raise Malformed("sdp_no_codec", "There is no codec that both sides speak.", status=488)
    agreed = Negotiated(
        ip=audio.ip,
        port=audio.port,
        codec=codec.name,
        payload_type=codec.payload_type,
        event_types=tuple((event.payload_type, event.rate) for event in _events(audio)),
        direction=_ours(audio, direction),
    )
    return audio, codec, replace(agreed, changed=agreed != before)


def _spoken(codec: Codec, names: Sequence[str]) -> bool:
    """True for G.711 in mono at 8 kHz, unless an rtpmap turns a static type into the other law."""
    static = {number: name for name, number in STATIC_TYPES.items()}.get(codec.payload_type, codec.name)
    return codec.name in names and codec.name == static and (codec.rate, codec.channels) == (CLOCK_RATE, 1)


def _events(audio: AudioMedia) -> list[Codec]:
    """Every telephone-event type, whatever its clock: phones send at a codec's rate that was not chosen."""
    return [codec for codec in audio.codecs if codec.name == EVENT_NAME.upper()]


def _ours(audio: AudioMedia, wish: str) -> str:
    """What we may do: we send only if the peer receives, we wish to, and it gave an address; and so on."""
    sends = audio.direction in {"sendrecv", "recvonly"} and wish in {"sendrecv", "sendonly"}
    receives = audio.direction in {"sendrecv", "sendonly"} and wish in {"sendrecv", "recvonly"}
    sends = sends and not audio.on_hold_address
    return DIRECTIONS[(0 if receives else 1) if sends else (2 if receives else 3)]


def _our_head(ip: str, session_id: int, version: int) -> list[str]:
    address = f"IN IP{ipaddress.ip_address(ip).version} {ip}"
    return ["v=0", f"o=- {session_id} {version} {address}", "s=-", f"c={address}", "t=0 0"]


def _our_media(port: int, codecs: Sequence[Codec], direction: str) -> list[str]:
    lines = [f"m=audio {port} {RTP_PROFILE} {' '.join(str(codec.payload_type) for codec in codecs)}"]
    for codec in codecs:
        event = codec.name.upper() == EVENT_NAME.upper()
        name = EVENT_NAME if event else codec.name
        lines.append(f"a=rtpmap:{codec.payload_type} {name}/{codec.rate}")
        if event:
            lines.append(f"a=fmtp:{codec.payload_type} {EVENT_RANGE}")
    return [*lines, f"a=ptime:{PACKET_MS}", f"a={direction}"]


def _text(lines: Sequence[str]) -> bytes:
    return "\r\n".join([*lines, ""]).encode("utf-8", "surrogateescape")
