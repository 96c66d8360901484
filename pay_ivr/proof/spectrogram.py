"""What two legs sounded like, one above the other, as a PNG that needs no plotting library.

Short-time spectrum of 32 ms Hann windows every 8 ms, 0-2 kHz (every key tone lies there), 60 dB of colours.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.audio import RATE_HZ
from pay_ivr.proof.glyphs import draw_text

WINDOW = 256
HOP = 64
TOP_HZ = 2000
ROW_PX = 3
"""Height of one frequency bin (31.25 Hz)."""
WIDTH_MAX = 1500
RANGE_DB = 60.0
MARGIN_PX = 26
BACKGROUND = (17, 20, 28)
INK = (226, 230, 238)
PALETTE = np.array(
    [(17, 20, 28), (30, 38, 74), (52, 54, 128), (104, 56, 150), (172, 62, 134), (226, 92, 92), (250, 158, 68),
     (252, 232, 150)], dtype=np.float64,
)  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """One leg's sound and what to write above it."""

    title: str
    samples: NDArray[np.int16]
    marks_s: Sequence[float] = ()
    """Where keys went down, in seconds from the start."""


def write_spectrogram(path: Path, strips: Sequence[Strip]) -> None:
    """One picture, the strips below each other on one time scale."""
    seconds = max(len(strip.samples) for strip in strips) / RATE_HZ
    rows = [_draw(strip, seconds) for strip in strips]
    path.write_bytes(png(np.vstack(rows)))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels (height, width, 3) as a PNG file (ISO 15948)."""
    height, width, _ = pixels.shape
    lines = np.hstack([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)])
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def _levels(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Bins × windows in dB, 0 Hz first."""
    padded = np.concatenate([samples.astype(np.float64), np.zeros(WINDOW)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    bins = int(TOP_HZ * WINDOW / RATE_HZ)
    spectrum: NDArray[np.float64] = np.abs(np.fft.rfft(windows, axis=1)[:, :bins]).T
    return 20 * np.log10(spectrum + 1.0)


def _draw(strip: Strip, seconds: float) -> NDArray[np.uint8]:
    levels = _levels(strip.samples)
    columns = int(seconds * RATE_HZ / HOP)
    step = max(1, -(-columns // WIDTH_MAX))
    width = -(-columns // step)
    field = np.zeros((levels.shape[0], width * step))
    used = min(levels.shape[1], width * step)
    field[:, :used] = levels[:, :used]
    # The maximum of each column group: a chirp of one window must stay visible.
    field = field.reshape(levels.shape[0], width, step).max(axis=2)
    top = 20 * np.log10(32768 * WINDOW / 8)
    share = np.clip((field - (top - RANGE_DB)) / RANGE_DB, 0, 1)
    picture = _colours(np.repeat(share[::-1], ROW_PX, axis=0))
    canvas = np.full((picture.shape[0] + MARGIN_PX + 14, width, 3), BACKGROUND, np.uint8)
    canvas[MARGIN_PX : MARGIN_PX + picture.shape[0]] = picture
    draw_text(canvas, 8, 8, strip.title, INK)
    for second in range(0, int(seconds) + 1, 5):
        x = int(second * RATE_HZ / HOP / step)
        if x < width - 30:
            draw_text(canvas, x + 2, MARGIN_PX + picture.shape[0] + 4, f"{second} s", INK)
            canvas[MARGIN_PX + picture.shape[0] : MARGIN_PX + picture.shape[0] + 4, x] = INK
    for mark in strip.marks_s:
        x = int(mark * RATE_HZ / HOP / step)
        if 0 <= x < width:
            canvas[MARGIN_PX - 5 : MARGIN_PX, max(0, x - 1) : x + 2] = (252, 232, 150)
    return canvas


def _colours(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    position = share * (len(PALETTE) - 1)
    low = np.minimum(position.astype(np.int64), len(PALETTE) - 2)
    rest = (position - low)[..., None]
    mixed: NDArray[np.float64] = PALETTE[low] * (1 - rest) + PALETTE[low + 1] * rest
    return mixed.astype(np.uint8)
