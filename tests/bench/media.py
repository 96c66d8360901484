"""What a packet costs: the media process beside a bare C relay and rtpengine, in ratios of the same round.

Every target carries the same load (`gen.c`) one after the other, three interleaved rounds. A figure is CPU
seconds of the target for a million returned packets (field 1 of /proc/PID/task/*/schedstat), and a ratio
compares two figures of one round. Writes `var/bench/media.json`; exit 1 when a limit is broken, 2 when the
machine was too noisy to tell.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in the media process
import numpy as np

from vault.hatch import hatch, knock

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BUILT = ROOT / "var" / "bench"
SEED = 1
NOISE_MAX = 2.0
"""Bare C may not vary by more between rounds, or the figures say nothing."""
LIMITS = {
    "normal_vs_c": 2.0,
    "secure_vs_c": 3.2,
    "normal_vs_rtpengine": 0.9,
    "secure_vs_rtpengine_masking": 0.6,
    "detector_vs_relay": 0.3,
}
STARTS_WITHIN_S = 10
"""How long rtpengine may take until it answers."""
RTPENGINE_PACKAGE = "rtpengine-daemon"

Wire = Callable[[list[int]], list[int]]


class Control:
    """A blocking connection to the media process."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(10)

    def ask(self, op: str, fds: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
        """One request and its reply."""
        socket.send_fds(self._sock, [json.dumps({"id": 1, "op": op, **fields}).encode()], fds)
        while "ok" not in (reply := json.loads(self._sock.recv(65_536))):
            pass
        if not reply["ok"]:
            raise SystemExit(f"media refused {op}: {reply['code']}")
        return dict(reply)

    def close(self) -> None:
        self._sock.close()


def connected(path: Path) -> socket.socket:
    """A connection as soon as somebody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for _ in range(200):
        with contextlib.suppress(OSError):
            sock.connect(str(path))
            break
        time.sleep(0.05)
    return sock


@contextlib.contextmanager
def bare_c(legs: int) -> Iterator[tuple[int, Wire]]:
    """The yardstick."""
    process = subprocess.Popen(
        [BUILT / "bare_relay", str(legs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    def wire(peers: list[int]) -> list[int]:
        stdin.write(" ".join(map(str, peers)) + "\n")
        stdin.flush()
        return [int(port) for port in stdout.readline().split()]

    try:
        yield process.pid, wire
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def media(secure: float, legs: int) -> Iterator[tuple[int, Wire]]:
    """The media process, with a share of its calls in SECURE."""
    run_dir = Path(tempfile.mkdtemp(prefix="payivr-"))
    command = [sys.executable, "-m", "vault.media", "--run-dir", str(run_dir), "--legs-max", str(legs)]
    ends = hatch()
    command += ["--hatch", str(ends[1].fileno())]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=(ends[1].fileno(),))
    pipes: list[socket.socket] = []
    controls: list[Control] = []

    def wire(peers: list[int]) -> list[int]:
        app, broker = Control(connected(run_dir / "media.sock")), Control(knock(ends[0]))
        controls.extend((app, broker))
        ports = []
        for at, peer in enumerate(peers):
            role = "agent" if at % 2 else "caller"
            ports.append(int(app.ask("open_leg", leg_id=f"leg_{at}", role=role)["port"]))
            remote = {"ip": "127.0.0.1", "port": peer, "codec": "PCMU", "payload_type": 0}
            app.ask(
                "set_remote", leg_id=f"leg_{at}", direction="sendrecv", event_types=[[101, 8000]], **remote
            )
        calls = len(peers) // 2
        for at in range(0, len(peers), 2):
            app.ask("bridge", caller=f"leg_{at}", agent=f"leg_{at + 1}")
            if at // 2 < secure * calls:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                broker.ask("attach", (ours.fileno(),), leg_id=f"leg_{at}", capture_id="cap_bench")
                ours.close()
                pipes.append(theirs)
        return ports

    try:
        yield process.pid, wire
    finally:
        process.terminate()
        process.wait()
        for closing in (*pipes, *controls, *ends):
            closing.close()
        shutil.rmtree(run_dir, ignore_errors=True)


def bencode(value: Any) -> bytes:
    """The ng protocol's encoding (BEP 3)."""
    if isinstance(value, dict):
        return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    text = str(value).encode()
    return str(len(text)).encode() + b":" + text


class Rtpengine:
    """A client of rtpengine's ng protocol: cookie, blank, bencoded dictionary, over UDP."""

    def __init__(self, port: int) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(("127.0.0.1", port))
        self._sock.settimeout(0.5)
        self._cookie = 0

    def ask(self, command: str, **fields: Any) -> bytes:
        """One command; the raw reply."""
        self._cookie += 1
        message = {"command": command, **{name.replace("_", "-"): value for name, value in fields.items()}}
        for _ in range(STARTS_WITHIN_S * 10):
            with contextlib.suppress(OSError):
                self._sock.send(f"{self._cookie} ".encode() + bencode(message))
                reply = self._sock.recv(65_536)
                if b"6:result5:error" in reply:
                    raise SystemExit("rtpengine refused a command")
                return reply
            time.sleep(0.1)
        raise SystemExit("rtpengine does not answer")

    def close(self) -> None:
        self._sock.close()


def sdp(port: int) -> str:
    """An offer or answer of one G.711 party."""
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
    )


def media_port(reply: bytes) -> int:
    """The port of the first m= line."""
    return int(reply.split(b"m=audio ")[1].split(b" ")[0])


@contextlib.contextmanager
def rtpengine(masking: bool) -> Iterator[tuple[int, Wire]]:
    """Rtpengine in userspace, one worker; `masking`: its own way to take the caller's tones out."""
    control = free_port()
    command = [
        "rtpengine",
        "--config-file=none",
        "-t",
        "-1",
        "-f",
        "-i",
        "127.0.0.1",
        "-n",
        f"127.0.0.1:{control}",
    ]
    process = subprocess.Popen(
        [*command, "--num-threads=1", "-m", "30000", "-M", "39999"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = Rtpengine(control)

    def wire(peers: list[int]) -> list[int]:
        client.ask("ping")
        ports = [0] * len(peers)
        for at in range(0, len(peers), 2):
            call: dict[str, Any] = {"call_id": f"bench-{at}", "from_tag": "caller"}
            offer = client.ask("offer", **call, ICE="remove", sdp=sdp(peers[at]))
            answer = client.ask("answer", **call, to_tag="agent", ICE="remove", sdp=sdp(peers[at + 1]))
            ports[at + 1], ports[at] = media_port(offer), media_port(answer)
            if masking:
                client.ask(
                    "block DTMF", **call, flags=["detect-DTMF"], DTMF_security="silence", delay_buffer=60
                )
        return ports

    try:
        yield process.pid, wire
    finally:
        client.close()
        process.kill()
        process.wait()


def free_port() -> int:
    """A UDP port nobody has right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cpu_ns(pid: int) -> int:
    """CPU time of all threads; ticks of /proc/PID/stat are too coarse."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def separate(target: int, load: int) -> None:
    """A core for the target, the others for the load: on a network a peer cannot preempt a relay."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for task in Path(f"/proc/{target}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores[:1])
        os.sched_setaffinity(load, cores[1:])


def measure(
    target: contextlib.AbstractContextManager[tuple[int, Wire]], calls: int, seconds: float
) -> dict[str, Any]:
    """One target under load."""
    load = subprocess.Popen(
        [BUILT / "gen", str(calls), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert load.stdin
    assert load.stdout
    try:
        with target as (pid, wire):
            separate(pid, load.pid)
            ports = wire([int(port) for port in load.stdout.readline().split()])
            before = cpu_ns(pid)
            result = json.loads(load.communicate(" ".join(map(str, ports)) + "\n")[0])
            spent = cpu_ns(pid) - before
    finally:
        load.kill()
        load.wait()
    result["cpu_s_per_million"] = round(spent / 1000 / max(1, result["received"]), 3)
    result["loss"] = round(1 - result["received"] / result["sent"], 5)
    return dict(result)


def detector_us(calls: int) -> float:
    """CPU of the detector for one call and 20 ms, all calls in one batch."""
    from vault.media.inband import InbandDetector

    rng = np.random.default_rng(SEED)
    batches = [rng.integers(0, 256, (calls, 160), dtype=np.uint8) for _ in range(10)]
    detector, flags = InbandDetector(calls), np.zeros(calls, bool)
    turns, begun = 100, time.process_time()
    for turn in range(turns):
        detector.feed(range(calls), batches[turn % 10], flags)
    return (time.process_time() - begun) / turns / calls * 1e6


def build() -> None:
    """Both C programs."""
    BUILT.mkdir(parents=True, exist_ok=True)
    for name in ("gen", "bare_relay"):
        subprocess.run(["gcc", "-O2", "-Wall", "-o", BUILT / name, HERE / f"{name}.c"], check=True)


def have_rtpengine(install: bool) -> bool:
    """Whether rtpengine is here; `install` fetches the distribution's package."""
    if shutil.which("rtpengine") is None and install:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "--no-install-recommends", RTPENGINE_PACKAGE]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return shutil.which("rtpengine") is not None


def one_round(calls: int, seconds: float, with_rtpengine: bool) -> dict[str, Any]:
    """Every target once."""
    targets: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, Wire]]]] = {
        "bare_c": lambda: bare_c(2 * calls),
        "normal": lambda: media(0.0, 2 * calls),
        "secure_20": lambda: media(0.2, 2 * calls),
        "secure": lambda: media(1.0, 2 * calls),
    }
    if with_rtpengine:
        targets["rtpengine"] = lambda: rtpengine(masking=False)
        targets["rtpengine_masking"] = lambda: rtpengine(masking=True)
    figures: dict[str, Any] = {name: measure(make(), calls, seconds) for name, make in targets.items()}
    figures["detector_us"] = round(detector_us(calls), 3)
    for name, figure in figures.items():
        print(name, json.dumps(figure), flush=True)
    return figures


def ratios_of(figures: dict[str, Any]) -> dict[str, float]:
    """The ratios of one round."""

    def cost(name: str) -> float:
        return float(figures[name]["cpu_s_per_million"])

    relay_us = 2 * cost("normal") - figures["detector_us"]
    ratios = {
        "normal_vs_c": cost("normal") / cost("bare_c"),
        "secure_vs_c": cost("secure") / cost("bare_c"),
        "detector_vs_relay": figures["detector_us"] / relay_us,
    }
    if "rtpengine" in figures:
        ratios["normal_vs_rtpengine"] = cost("normal") / cost("rtpengine")
        ratios["secure_vs_rtpengine_masking"] = cost("secure") / cost("rtpengine_masking")
    return {name: round(value, 3) for name, value in ratios.items()}


def main() -> int:
    """Measure, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--loss-calls", type=int, default=300, help="calls of the loss comparison, 0: leave it out"
    )
    parser.add_argument("--install-rtpengine", action="store_true", help="fetch the distribution's package")
    options = parser.parse_args()
    build()
    with_rtpengine = have_rtpengine(options.install_rtpengine)
    rounds = [one_round(options.calls, options.seconds, with_rtpengine) for _ in range(options.rounds)]
    per_round = [ratios_of(figures) for figures in rounds]
    ratios = {name: statistics.median(ratio[name] for ratio in per_round) for name in per_round[0]}
    loss: dict[str, float] = {}
    if options.loss_calls:
        loss["bare_c"] = measure(bare_c(2 * options.loss_calls), options.loss_calls, options.seconds)["loss"]
        loss["normal"] = measure(media(0, 2 * options.loss_calls), options.loss_calls, options.seconds)[
            "loss"
        ]
    bare = [figures["bare_c"]["cpu_s_per_million"] for figures in rounds]
    noise = round(max(bare) / min(bare), 2)
    settings = {name: getattr(options, name) for name in ("calls", "seconds", "loss_calls")}
    result = {"settings": settings, "noise": noise, "ratios": ratios, "ratios_per_round": per_round}
    result |= {"loss": loss, "limits": LIMITS, "rounds": rounds}
    (BUILT / "media.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"ratios": ratios, "noise": noise, "loss": loss}, indent=1))
    if noise > NOISE_MAX:
        print("bare C varied too much between rounds: this machine was too busy to tell")
        return 2
    broken = [name for name, value in ratios.items() if value > LIMITS[name]]
    if loss and loss["normal"] > loss["bare_c"]:
        broken.append("loss")
    print("limits broken: " + ", ".join(broken) if broken else "all limits kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
