"""A node of its own for a demo or a proof: real processes, loopback, dynamic ports, gone afterwards."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from pay_ivr.node import NewAgentLogin, add_access_key, first_agents, node_facts
from pay_ivr.proof.other_user import command, hand_over
from pay_ivr.settings import Settings
from pay_ivr.speech import FOLDER
from pay_ivr.tenants import load_tenants

START_TIMEOUT_S = 120.0
"""The first start renders every prompt of four languages; others may need the machine too."""
STOP_TIMEOUT_S = 30.0
LOG_TAIL = 2000
KEPT_PROMPTS = "STAGE_PROMPTS"
"""Variable that names a folder: prompts go from one node to the next. Their names tell voice and text, so an
old one is never taken for a new one (`pay_ivr/speech.py`)."""


class Stage:
    """Starts `pay-ivr serve` in `folder`, stops it by its own pid."""

    def __init__(self, folder: Path, tenants_dir: Path, *, other_user: bool = False, **settings: Any) -> None:
        """`other_user`: the node runs as a user of its own, which only root can arrange."""
        self.folder = folder
        self.log_file = folder / "node.log"
        self._run_dir = Path(tempfile.mkdtemp(prefix="payivr-"))
        self.settings = Settings(
            data_dir=folder / "data",
            run_dir=self._run_dir,
            tenants_dir=tenants_dir,
            **({"http_port": 0, "sip_udp_port": 0, "sip_tcp_port": 0} | settings),
        )
        self.logins: dict[str, NewAgentLogin] = {}
        self.access_key = ""
        self.facts: dict[str, Any] = {}
        self._other_user = other_user
        self._node: subprocess.Popen[bytes] | None = None

    async def start(self, tenant: str, secrets: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Agents and an access key made, the node up; RuntimeError with the end of its log otherwise.

        `secrets`: name of a key file (`vault/keys.py`) → what is in it.
        """
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_file.unlink(missing_ok=True)
        made = await first_agents(self.settings, load_tenants(self.settings.tenants_dir))
        self.logins = {login.agent_id: login for login in made}
        self.access_key = await add_access_key(self.settings, tenant, "stage")
        self._put(secrets)
        _copy_new(self._kept, self._prompts)
        serve = [sys.executable, "-m", "pay_ivr", "serve", "--log-file", str(self.log_file)]
        if self._other_user:
            hand_over((self.folder, self._run_dir, self.settings.tenants_dir))
        self._node = subprocess.Popen(
            command(serve) if self._other_user else serve,
            env=os.environ | self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        await asyncio.to_thread(self._await_ready)
        return self

    def pids(self) -> dict[str, int]:
        """Process name → pid, as the supervisor last wrote it; the supervisor itself is `supervisor`."""
        found: dict[str, int] = json.loads((self._run_dir / "pids.json").read_text(encoding="utf-8"))
        return found | ({"supervisor": self._node.pid} if self._node is not None else {})

    def stop(self) -> int:
        """SIGTERM, and the exit code; the socket directory is removed."""
        node = self._node
        code = 0
        if node is not None:
            if node.poll() is None:
                node.send_signal(signal.SIGTERM)
            try:
                code = node.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                node.kill()
                code = node.wait()
            if node.stdout is not None:
                node.stdout.close()
            _copy_new(self._prompts, self._kept)
        shutil.rmtree(self._run_dir, ignore_errors=True)
        return code

    @property
    def _prompts(self) -> Path:
        return self.settings.data_dir / FOLDER

    @property
    def _kept(self) -> Path | None:
        named = os.environ.get(KEPT_PROMPTS)
        return Path(named) if named else None

    def _put(self, secrets: Mapping[str, str]) -> None:
        """The providers' secrets, as an operator puts them there: nobody else may read them."""
        keys = self.settings.data_dir / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        for name, secret in secrets.items():
            path = keys / name
            path.touch(mode=0o600)
            path.write_text(secret, encoding="ascii")

    def _environment(self) -> dict[str, str]:
        values = self.settings.model_dump(mode="json", exclude_none=True)
        return {f"PAY_IVR_{name.upper()}": str(value) for name, value in values.items()}

    def _await_ready(self) -> None:
        """Reads the node's start-up lines up to the one that says `ready`."""
        said: list[str] = []
        guard = threading.Timer(START_TIMEOUT_S, self._give_up)
        guard.start()
        try:
            while self._node is not None and self._node.stdout is not None:
                line = self._node.stdout.readline().decode(errors="replace")
                said.append(line)
                if "ready" in line:
                    self.facts = node_facts(self.settings)
                    return
                if not line:
                    break
        finally:
            guard.cancel()
        tail = self.log_file.read_text(errors="replace")[-LOG_TAIL:] if self.log_file.exists() else ""
        self.stop()
        raise RuntimeError(f"the node did not start: {''.join(said)} {tail}")

    def _give_up(self) -> None:
        if self._node is not None:
            self._node.kill()


def _copy_new(source: Path | None, target: Path | None) -> None:
    """Prompts of `source` that `target` lacks, each all or not at all: other stages do the same meanwhile."""
    if source is None or target is None or not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in source.glob("*.ulaw"):
        if not (target / path.name).exists():
            beside = target / f".{os.getpid()}.{path.name}"
            shutil.copyfile(path, beside)
            beside.replace(target / path.name)
