"""The walls of the house: contracts kept, every module inside, processes that hold nothing foreign."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
STOREYS = PYPROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
FORBIDDEN_IN_ZONE = {"sqlalchemy", "aiohttp", "structlog", "pydantic", "stripe"}


def test_import_contracts_are_kept() -> None:
    """`lint-imports` says the same here as in `make check`."""
    program = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert 0 == result.returncode, result.stdout[-3000:]


def test_every_module_of_the_control_plane_stands_in_a_storey() -> None:
    """A module that no contract names could import upwards unseen."""
    named = {module.strip() for storey in STOREYS for module in storey.replace("|", ":").split(":")}
    modules = {
        "pay_ivr." + path.relative_to(ROOT / "pay_ivr").parts[0].removesuffix(".py")
        for path in (ROOT / "pay_ivr").rglob("*.py")
    } - {"pay_ivr.__init__"}

    assert set() == modules - named


@pytest.mark.parametrize("module", ["vault.media.__main__", "vault.spawner", "vault.cell", "vault.pin_cell"])
def test_processes_that_hear_a_key_hold_no_framework(module: str) -> None:
    """In media and cell processes `sys.modules` has no database, web framework or logger of ours."""
    program = (
        f"import sys, json, {module}; print(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert set() == FORBIDDEN_IN_ZONE & set(json.loads(result.stdout.splitlines()[-1]))


def test_the_command_line_loads_no_database_before_a_command_wants_one() -> None:
    """`pay-ivr --help` answers at once: what a command does is imported when it runs."""
    program = (
        "import sys, json, pay_ivr.__main__ as line; line._parser(); print(json.dumps(sorted(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert set() == {"sqlalchemy", "aiohttp", "numpy", "loyalty.database"} & set(json.loads(result.stdout))


@pytest.mark.parametrize(
    "path",
    [
        *sorted((ROOT / "vault" / "media").glob("*.py")),
        *(
            ROOT / "vault" / f"{name}.py"
            for name in ("card", "keypad", "hands", "capture", "cell", "spawner")
        ),
        *(ROOT / "vault" / f"{name}.py" for name in ("cell_ends", "pin_capture", "pin_rules", "pin_cell")),
        *(ROOT / "vault" / f"{name}.py" for name in ("pin_hash", "pin_seal")),
        ROOT / "pay_ivr" / "sip" / "info.py",
        ROOT / "pay_ivr" / "leg.py",
    ],
    ids=lambda path: path.stem,
)
def test_code_that_hears_a_key_neither_prints_nor_logs(path: Path) -> None:
    """No print, no logger, no warnings, no traceback: seen in the syntax tree, not by name matching."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }

    assert set() == calls & {"print", "breakpoint", "input"}
    of_traceback = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "traceback"
    }
    assert set() == imported & {"logging", "structlog", "warnings", "pdb", "cgitb", "faulthandler"}
    assert of_traceback <= {"clear_frames"}  # the cell empties frames; it formats none


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    """The project speaks of the project alone."""
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    hosts = ("p" + "ypi.org", "python" + "hosted", "npm" + "js.", "deb.de" + "bian", "/wo" + "rk/")
    found = [
        (name, host)
        for name in files
        if (ROOT / name).suffix in {".py", ".toml", ".md", ".sh", ".lock", ".html", ".js", ".css", ".ftl", ""}
        for host in hosts
        if host in (ROOT / name).read_text(encoding="utf-8", errors="replace")
    ]

    assert [] == found
