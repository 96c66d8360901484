"""How the files of the SIP core stand on each other, read from their syntax trees."""

import ast
from pathlib import Path

import pytest

SIP = Path(__file__).resolve().parents[2] / "pay_ivr" / "sip"
STOREYS = (
    {
        "errors",
        "names",
        "rim",
        "uri",
        "grammar",
        "wire",
        "sdp",
        "digest",
        "info",
        "framer",
        "machines",
        "source",
    },
    {"transaction", "dialog", "login", "legstate", "trace", "registrar"},
    {"unacked", "reinvite", "registration"},
    {"invite"},
    {"incoming", "outgoing"},
    {"core", "transport"},
    {"endpoint"},
)
"""Lowest first: a file imports from its own storey or a lower one."""
SHELL = {"transport", "endpoint"}
"""The only files that know sockets, names and the event loop."""
RIM_OF_THE_WORLD = {"asyncio", "socket", "threading", "select", "selectors", "time"}
LOGGED = {"endpoint"}
"""The only file with a logger; no key comes near it."""


def imports(name: str) -> set[str]:
    """Every module the file imports, `pay_ivr.sip.wire` as `.wire`."""
    tree = ast.parse((SIP / f"{name}.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        names = [f".{alias.name}" for alias in node.names]
        found |= set(names if node.module == "pay_ivr.sip" else [node.module or ""])
    return {module.replace("pay_ivr.sip.", ".") for module in found}


FILES = sorted(path.stem for path in SIP.glob("*.py") if path.stem != "__init__")


def test_every_file_has_a_storey() -> None:
    """A new file must be given its place."""
    assert set(FILES) == set().union(*STOREYS)


@pytest.mark.parametrize("name", FILES)
def test_file_imports_only_from_its_storey_and_below(name: str) -> None:
    """Nothing of ours from outside this folder either."""
    height = next(index for index, storey in enumerate(STOREYS) if name in storey)
    below = set().union(*STOREYS[: height + 1])
    ours = {module for module in imports(name) if module.startswith((".", "pay_ivr", "vault", "audit"))}
    assert set() == ours - {f".{other}" for other in below}


@pytest.mark.parametrize("name", [name for name in FILES if name not in SHELL])
def test_pure_files_know_no_socket_and_no_clock(name: str) -> None:
    """Bytes, events and `now` go in; the registrar may take the system's clock as a default."""
    allowed = {"time"} if name == "registrar" else set()
    assert set() == imports(name) & RIM_OF_THE_WORLD - allowed


@pytest.mark.parametrize("name", [name for name in FILES if name not in LOGGED])
def test_files_on_the_way_of_a_key_have_no_logger_and_no_serialiser(name: str) -> None:
    """From the socket to the observer nobody could write a key down."""
    assert set() == imports(name) & {"structlog", "logging", "json", "pickle", "warnings", "traceback"}
