"""The exact claim, the attacker and the controls, on a clean recording made here and on its faults."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pay_ivr.proof.audio import FRAME, Samples, Voice, encode, tone
from pay_ivr.proof.canary import make_canary
from pay_ivr.proof.canary_call import Exhibit
from pay_ivr.proof.claim import Cycle, NoCycle, Window, frames
from pay_ivr.proof.controls import events_not_stripped, late, pan_in_log, pan_in_wal, secure_too_late
from pay_ivr.proof.examine import examine
from pay_ivr.proof.plan import Moment, Run
from pay_ivr.proof.rtp_port import Datagram

KEYS = "58203194671"
PRESS_FRAMES = 8
NOISE_FRAMES = 64


def noise() -> list[bytes]:
    """The frames of a relay of ours."""
    source = np.random.default_rng(3)
    return [encode(source.normal(0, 30, FRAME).astype(np.int16), "PCMU") for _ in range(NOISE_FRAMES)]


def leg(payloads: Sequence[bytes], first: int = 0, kind: int = 0) -> list[Datagram]:
    """A stream of 20 ms packets from monotonic second 100 on."""
    return [
        Datagram(
            100 + 0.02 * number,
            bytes([0x80, kind])
            + ((first + number) & 0xFFFF).to_bytes(2, "big")
            + (FRAME * (first + number)).to_bytes(4, "big")
            + b"SSRC"
            + payload,
        )
        for number, payload in enumerate(payloads)
    ]


def caller(keys: str) -> tuple[list[Samples], list[tuple[float, str]]]:
    """What a caller sends, frame by frame, and his presses."""
    voice, sent, presses = Voice(9), [], []
    phases = random.Random(4)
    for key in keys:
        presses.append((100 + 0.02 * len(sent) - 0.001, key))
        sound = tone(key, 80, phase=phases.uniform(0, 6))
        sent += [sound[at : at + FRAME] for at in range(0, len(sound), FRAME)]
        sent += [voice.frame() for _ in range(PRESS_FRAMES - 4)]
    return sent, presses


def cycle() -> Cycle:
    """As learned from a reference call."""
    return Cycle(frames(leg(noise() * 2)))


@pytest.fixture(scope="module")
def exhibit() -> Exhibit:
    """A call on which nothing leaks."""
    sent, presses = caller(KEYS * 3)
    run = Run(1, 0, "inband", "PCMU", "clean", None, Moment.READY)
    length = len(sent) + 20
    payloads = (noise() * (length // NOISE_FRAMES + 2))[7 : 7 + length]
    event = Datagram(100.5, bytes([0x80, 101]) + bytes(10) + b"\x05\x0a\x00\xa0")
    return Exhibit(
        run,
        "PCMU",
        window=Window(100.0, 100 + 0.02 * length),
        packets=leg(payloads, first=65_500),
        sent=sent,
        sent_at=[100 + 0.02 * number for number in range(len(sent))],
        sent_events=[event],
        presses=presses,
    )


def test_relay_s_own_frames_are_no_breach(exhibit: Exhibit) -> None:
    """Also when the sequence numbers wrap; the attacker guesses, on the caller's audio he knows."""
    verdict = examine(exhibit, cycle())
    assert ([], True) == (verdict.breaches, verdict.agent_leg.by_chance)
    assert verdict.own_audio.accuracy > 0.9


def test_one_foreign_payload_is_a_breach(exhibit: Exhibit) -> None:
    """A single frame of the caller."""
    packets = list(exhibit.packets)
    packets[30] = replace(packets[30], data=packets[30].data[:12] + encode(exhibit.sent[6], "PCMU"))
    breaches = examine(replace(exhibit, packets=packets), cycle()).breaches
    assert any(one.startswith("1 of ") for one in breaches)
    assert any("pieces of the caller's audio" in one for one in breaches)


def test_own_frame_out_of_order_is_a_breach(exhibit: Exhibit) -> None:
    """Which frame is sent when must not depend on anything."""
    packets = list(exhibit.packets)
    packets[30] = replace(packets[30], data=packets[30].data[:12] + packets[90].data[12:])
    assert ["2 steps in SECURE leave the relay's own order"] == examine(
        replace(exhibit, packets=packets), cycle()
    ).breaches


def test_gap_in_the_clock_is_a_breach(exhibit: Exhibit) -> None:
    """A stream that pauses while keys are down tells when they are."""
    packets = exhibit.packets[:40] + exhibit.packets[60:]
    assert any(
        "where the clock makes" in one for one in examine(replace(exhibit, packets=packets), cycle()).breaches
    )


def test_second_source_is_a_breach(exhibit: Exhibit) -> None:
    """The caller's own stream beside ours."""
    stranger = replace(
        exhibit.packets[3], data=exhibit.packets[3].data[:8] + b"THEM" + exhibit.packets[3].data[12:]
    )
    breaches = examine(replace(exhibit, packets=[stranger, *exhibit.packets]), cycle()).breaches
    assert "the agent's leg had 2 sources" in breaches


def test_header_extension_is_a_breach(exhibit: Exhibit) -> None:
    """An audio level in a header (RFC 6464) would tell tones."""
    extended = replace(exhibit.packets[3], data=b"\x90" + exhibit.packets[3].data[1:])
    breaches = examine(replace(exhibit, packets=[extended, *exhibit.packets]), cycle()).breaches
    assert "1 datagrams on the agent's leg are not plain RTP" in breaches


def test_three_milliseconds_of_every_key_are_caught(exhibit: Exhibit) -> None:
    """SECURE 3 ms late: the claim breaks and the attacker reads the digits."""
    assert secure_too_late([exhibit], {"PCMU": cycle()})
    assert examine(late(exhibit), cycle()).agent_leg.accuracy > 0.9


def test_clean_recording_is_not_caught_as_late(exhibit: Exhibit) -> None:
    """The control can also say no."""
    assert not secure_too_late([replace(exhibit, presses=[])], {"PCMU": cycle()})


def test_event_packets_on_the_agent_s_leg_are_caught(exhibit: Exhibit) -> None:
    """Events not stripped; a recording without events proves nothing."""
    assert events_not_stripped(exhibit, cycle())
    assert not events_not_stripped(replace(exhibit, sent_events=[]), cycle())


def test_frames_that_do_not_repeat_are_no_cycle() -> None:
    """A relay that draws its noise anew cannot be learned: the proof says so."""
    with pytest.raises(NoCycle):
        Cycle(frames(leg(noise())))


def test_planted_pan_in_a_log_line_is_caught(tmp_path: Path) -> None:
    """And gone afterwards."""
    log, card = tmp_path / "node.log", make_canary(1, 2026)
    log.write_text('{"event": "node.app.started"}\n', encoding="utf-8")
    assert pan_in_log(log, card)
    assert card.pan not in log.read_text(encoding="utf-8")


def test_planted_pan_in_a_wal_page_is_caught(tmp_path: Path) -> None:
    """Not in the database yet, and no file left."""
    assert (True, []) == (pan_in_wal(tmp_path, make_canary(1, 2026)), list(tmp_path.iterdir()))
