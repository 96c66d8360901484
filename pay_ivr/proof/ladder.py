"""A call's signalling, payment steps and media modes as a ladder picture (SVG), digits never shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LANE_PX = 190
ROW_PX = 26
TOP_PX = 64
LEFT_PX = 120
COLOURS = {"sip": "#2f6fde", "desk": "#0f8a5f", "vault": "#b3541e", "media": "#7a3fb0"}
"""Kind of a rung → its colour; the legend says the same in words."""
WORDS = {"sip": "SIP", "desk": "desk", "vault": "payment step", "media": "media mode"}

STYLE = (
    "<style>text{fill:#1c2330}.lane{stroke:#c3c9d4}.dim{fill:#667085}"
    "@media (prefers-color-scheme:dark){text{fill:#e6e9ef}.lane{stroke:#3b4354}.dim{fill:#98a2b3}}</style>"
)


@dataclass(frozen=True)
class Rung:
    """One arrow: at `at_s` seconds, from one lane to another (the same lane: a note)."""

    at_s: float
    kind: str
    source: str
    target: str
    text: str


def ladder_svg(title: str, lanes: Sequence[str], rungs: Sequence[Rung]) -> str:
    """The picture; lanes from left to right, time downwards, one row per rung."""
    width = LEFT_PX + LANE_PX * (len(lanes) - 1) + 170
    height = TOP_PX + ROW_PX * (len(rungs) + 2)
    x_of = {lane: LEFT_PX + LANE_PX * number for number, lane in enumerate(lanes)}
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" font-size="12">',
        STYLE,
        f'<text x="16" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    parts += [
        f'<text x="{x}" y="{TOP_PX - 14}" text-anchor="middle" font-weight="600">{escape(lane)}</text>'
        f'<line class="lane" x1="{x}" x2="{x}" y1="{TOP_PX - 6}" y2="{height - ROW_PX}"/>'
        for lane, x in x_of.items()
    ]
    parts += [_rung(rung, x_of, TOP_PX + ROW_PX * (number + 1)) for number, rung in enumerate(rungs)]
    legend = "".join(
        f'<tspan fill="{COLOURS[kind]}" dx="{0 if number == 0 else 18}">■ {word}</tspan>'
        for number, (kind, word) in enumerate(WORDS.items())
    )
    parts.append(f'<text x="{LEFT_PX}" y="{height - 8}">{legend}</text></svg>')
    return "\n".join(parts)


def _rung(rung: Rung, x_of: dict[str, int], y: int) -> str:
    colour = COLOURS[rung.kind]
    start, end = x_of[rung.source], x_of[rung.target]
    when = f'<text class="dim" x="{LEFT_PX - 60}" y="{y + 4}" text-anchor="end">{rung.at_s:.2f} s</text>'
    if start == end:
        return (
            f'{when}<circle cx="{start}" cy="{y}" r="4" fill="{colour}"/>'
            f'<text x="{start + 10}" y="{y + 4}">{escape(rung.text)}</text>'
        )
    side = 1 if end > start else -1
    head = f"{end},{y} {end - 8 * side},{y - 4} {end - 8 * side},{y + 4}"
    return (
        f'{when}<line x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="1.6"/>'
        f'<polygon points="{head}" fill="{colour}"/>'
        f'<text x="{(start + end) / 2}" y="{y - 5}" text-anchor="middle">{escape(rung.text)}</text>'
    )
