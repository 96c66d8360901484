"""What the demo leaves to look at: sound and picture of both legs, a ladder, the log, one page."""

import json
import sqlite3
import wave
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pay_ivr.proof.audio import RATE_HZ, decode
from pay_ivr.proof.foreign_phone import ForeignPhone
from pay_ivr.proof.ladder import Rung, ladder_svg
from pay_ivr.proof.rtp_port import Datagram, payload_of
from pay_ivr.proof.scenarios import Players
from pay_ivr.proof.spectrogram import Strip, write_spectrogram
from pay_ivr.proof.stage import Stage

LAWS = {0: "PCMU", 8: "PCMA"}
LANES = ("caller", "pay-ivr", "agent phone", "agent desk", "vault")
RUNGS_MAX = 90
"""A ladder longer than this is not read by anybody."""
Samples = NDArray[np.int16]


def write_showcase(out: Path, result: Mapping[str, Any], players: Players, stage: Stage) -> None:
    """Everything in `out`; `index.html` leads to the rest."""
    log = _read_log(stage.folder / "data" / "audit.db")
    (out / "audit-log.jsonl").write_text("\n".join(log) + "\n", encoding="utf-8")
    if players.heard is not None:
        _write_sound(out, players.heard, players.agent)
    if players.ladder_call:
        (out / "ladder.svg").write_text(_ladder(players, stage), encoding="utf-8")
    (out / "index.html").write_text(_page(result, log), encoding="utf-8")
    for leftover in out.glob("*.packets*"):
        leftover.unlink()


def agent_stream(datagrams: Sequence[Datagram], start: float, seconds: float) -> Samples:
    """What a phone received, laid on a time line that begins at `start` (monotonic seconds)."""
    track = np.zeros(int(seconds * RATE_HZ) + 4000, dtype=np.int16)
    for datagram in datagrams:
        try:
            payload_type, _ssrc, _timestamp, payload = payload_of(datagram.data)
        except ValueError:
            continue
        place = round((datagram.at - start) * RATE_HZ)
        if payload_type in LAWS and 0 <= place < len(track) - len(payload):
            track[place : place + len(payload)] = decode(payload, LAWS[payload_type])
    return track[: int(seconds * RATE_HZ)]


def _write_sound(out: Path, caller: ForeignPhone, agent: ForeignPhone) -> None:
    payloads = caller.sent()
    if not payloads:
        return
    start = payloads[0].at
    sent = np.concatenate([decode(one.data, "PCMU") for one in payloads])
    heard = agent_stream(agent.received(), start, len(sent) / RATE_HZ)
    _write_wav(out / "caller-leg.wav", sent)
    _write_wav(out / "agent-leg.wav", heard)
    write_spectrogram(
        out / "spectrogram.png",
        [
            Strip("Caller leg: what the caller's phone sent, two cards keyed as tones", sent),
            Strip("Agent leg: what the agent's phone received", heard),
        ],
    )


def _write_wav(path: Path, samples: Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def _read_log(database: Path) -> list[str]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT leaf FROM entries ORDER BY idx").fetchall()
    connection.close()
    return [bytes(row[0]).decode() for row in rows]


def _ladder(players: Players, stage: Stage) -> str:
    """The first scenario: SIP of both legs, the desk's buttons, the payment's steps."""
    trace = [
        json.loads(line) for line in (stage.folder / "data" / "sip-trace.jsonl").read_text().splitlines()
    ]
    begin = next(one["at"] for one in trace if one["call_id"] == players.ladder_call)
    end = max(one["at"] for one in trace if one["call_id"] == players.ladder_call) + 0.2
    ours = [one for one in trace if begin <= one["at"] <= end and not one["cseq"].endswith("REGISTER")]
    rungs = [_sip_rung(one, begin, players.ladder_call) for one in ours]
    steps = [one for one in players.desk.messages if _is_step(one, begin, end)]
    rungs += [_payment_rung(one, begin) for one in steps]
    rungs += _mode_rungs(steps, begin)
    return ladder_svg(
        "Telephone-events, approved: one call from INVITE to BYE", LANES, sorted(rungs, key=_when)[:RUNGS_MAX]
    )


def _when(rung: Rung) -> float:
    return rung.at_s


def _is_step(message: Mapping[str, Any], begin: float, end: float) -> bool:
    return (
        message.get("payment") is not None and begin <= message["_at"] <= end and message.get("why") != "key"
    )


def _mode_rungs(steps: Sequence[Mapping[str, Any]], begin: float) -> list[Rung]:
    """Where media went SECURE and came back, as the payment's snapshots tell it."""
    rungs, secure = [], False
    for step in steps:
        if step["payment"]["secure"] is not secure:
            secure = step["payment"]["secure"]
            text = "SECURE: the agent hears our noise" if secure else "NORMAL again"
            rungs.append(Rung(step["_at"] - begin, "media", "pay-ivr", "pay-ivr", text))
    return rungs


def _sip_rung(line: Mapping[str, Any], begin: float, caller_id: str) -> Rung:
    peer = "caller" if line["call_id"] == caller_id else "agent phone"
    words = str(line["first_line"]).split(" ")
    text = " ".join(words[1:]) if words[0] == "SIP/2.0" else words[0]
    ends = (peer, "pay-ivr") if line["direction"] == "in" else ("pay-ivr", peer)
    return Rung(line["at"] - begin, "sip", *ends, text)


BUTTONS = {"created": "create payment", "capture_opened": "start capture", "charging": "charge"}
"""Steps that an agent's button brings about."""


def _payment_rung(message: Mapping[str, Any], begin: float) -> Rung:
    why = str(message["why"])
    at = message["_at"] - begin
    if why in BUTTONS:
        return Rung(at, "desk", "agent desk", "vault", BUTTONS[why])
    field = f" {message['field']}" if message.get("field") else ""
    return Rung(at, "vault", "vault", "agent desk", why.replace("_", " ") + field)


STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--dim:#667085;--line:#e1e5ec;--card:#fff;--back:#f5f7fa;
--good:#0f7a52;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;--line:#2b3240;--card:#171b24;
--back:#0f1218;--good:#4cc38a;--bad:#ff7b72}}
body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back)}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}p{margin:0 0 12px;max-width:75ch}
.lead{color:var(--dim)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;overflow-x:auto}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--dim)}.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
img{max-width:100%;border-radius:6px}audio{width:100%;max-width:460px}code{font-size:13px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:16px}
"""


def _page(result: Mapping[str, Any], log: Sequence[str]) -> str:
    good = bool(result["ok"])
    verdict = _cell("span", "All as expected." if good else "Not as expected.", good=good)
    leak = "".join(_row(name, value) for name, value in result["leak"].items())
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>pay-ivr demo</title><style>{STYLE}</style><main>
<h1>pay-ivr demo</h1>
<p class="lead">Real calls on a node of its own: real SIP and RTP, a sandbox for a bank. {verdict}</p>
<div class="card"><table><tr><th>call</th><th>expected</th><th>came out</th><th>took</th></tr>
{"".join(_scenario(one) for one in result["scenarios"])}</table></div>
<h2>What the caller's phone sent, what the agent's phone received</h2>
<p>The second call, whose telephone sends keys as tones in the audio. From the moment a capture starts, the
agent's leg is a stream of our own: the tone pairs above have no counterpart below. Between the two cards, and
after the last field, the voice is back.</p>
<div class="card"><img src="spectrogram.png" alt="Spectrogram of both legs, one above the other"></div>
<div class="two"><p>Caller leg<br><audio controls src="caller-leg.wav"></audio></p>
<p>Agent leg<br><audio controls src="agent-leg.wav"></audio></p></div>
<h2>The first call as a ladder</h2>
<div class="card"><img src="ladder.svg" alt="SIP messages, buttons and payment steps in order of time"></div>
<h2>Searched for the cards that were keyed</h2><div class="card"><table>{leak}</table></div>
<h2>The audit log of this run</h2>
<p>Each entry was written in the same database transaction as the fact it tells of, and pulled into the log by
its own process.</p>
<div class="card"><table><tr><th>#</th><th>time</th><th>entry</th><th>actor</th><th>data</th></tr>
{"".join(_entry(json.loads(line)) for line in log)}</table></div>
<p class="lead"><a href="result.json">result.json</a> · <a href="audit-log.jsonl">audit-log.jsonl</a></p>
</main></html>
"""


def _scenario(one: Mapping[str, Any]) -> str:
    came_out = _cell("td", one["outcome"], good=one["outcome"] == one["expected"])
    head = f"<tr><td>{escape(one['title'])}</td><td>{escape(one['expected'])}</td>"
    return f"{head}{came_out}<td>{one['seconds']} s</td></tr>"


def _entry(entry: Mapping[str, Any]) -> str:
    name = f"<code>{escape(entry['name'])}</code>"
    data = ", ".join(f"{key} {value}" for key, value in entry["data"].items())
    cells = (str(entry["idx"]), entry["at"][11:23], name, escape(entry["actor"]), escape(data))
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _row(name: str, value: object) -> str:
    return f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(str(value))}</td></tr>"


def _cell(tag: str, text: str, *, good: bool) -> str:
    return f'<{tag} class="{"good" if good else "bad"}">{escape(text)}</{tag}>'
