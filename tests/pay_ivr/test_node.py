"""The first start of a node: who gets a login, and what a wrong command says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from pay_ivr.__main__ import main
from pay_ivr.node import first_agents
from pay_ivr.people import SipSecret
from pay_ivr.settings import Settings
from pay_ivr.store import Store
from pay_ivr.tenants import load_tenants

TWO_NUMBERS = """
name = "Acme"

[[telephony.did]]
number = "4930100001"
flow = "agent_assisted"
language = "en-US"
agents = ["agent1", "agent2"]

[[telephony.did]]
number = "4930100002"
flow = "agent_assisted"
language = "de-DE"
agents = ["agent1"]
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A fresh data directory and one tenant."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "acme.toml").write_text(TWO_NUMBERS, encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_TENANTS_DIR", str(tmp_path / "tenants"))
    monkeypatch.setenv("PAY_IVR_DATA_DIR", str(tmp_path / "data"))
    return Settings()


async def test_an_agent_of_two_numbers_gets_one_login(settings: Settings) -> None:
    """Also when the numbers speak different languages; a second start makes nobody."""
    tenants = load_tenants(settings.tenants_dir)

    made = await first_agents(settings, tenants)

    assert ["agent1", "agent2"] == [one.agent_id for one in made]
    assert [] == await first_agents(settings, tenants)


@pytest.mark.parametrize("user", ["agent1", "Agent One"])
def test_an_agent_who_cannot_be_added_is_refused_in_one_line(
    settings: Settings, capsys: pytest.CaptureFixture[str], user: str
) -> None:
    """Taken or malformed: a sentence and code 2, no traceback."""
    settings.data_dir.mkdir()
    main(["agent", "add", "agent1", "--tenant", "acme"])
    capsys.readouterr()

    assert 2 == main(["agent", "add", user, "--tenant", "acme"])
    said = capsys.readouterr()
    assert ("", 1) == (said.out, len(said.err.splitlines()))


def test_a_revoked_key_is_revoked_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """By the prefix that the key shows; a second time there is nothing to revoke."""
    settings.data_dir.mkdir()
    assert 0 == main(["key", "add", "shop", "--tenant", "acme"])
    prefix = capsys.readouterr().out.split("pik_")[1].split("_")[0]

    assert [0, 2] == [main(["key", "revoke", prefix]) for _ in range(2)]


def phones(settings: Settings) -> Mapping[str, SipSecret]:
    """What the registrar would check phones with now."""

    async def read() -> Mapping[str, SipSecret]:
        store = await Store.open(settings.data_dir / "app.db")
        try:
            return await store.sip_secrets()
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_reset_shows_new_passwords_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The phone registers with the password that was shown last, and with no other."""
    settings.data_dir.mkdir()
    main(["agent", "add", "agent1", "--tenant", "acme"])
    first = capsys.readouterr().out.split()

    assert 0 == main(["agent", "reset", "agent1"])

    second = capsys.readouterr().out.split()
    one_time, phone = first.index("password") + 1, first.index("phone") + 2
    assert first[one_time] != second[one_time]
    assert first[phone] != second[phone]
    assert {"agent1": SipSecret.of("agent1", settings.sip_realm, second[phone])} == phones(settings)


def test_an_agent_is_removed_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """His phone has no secret any more; a second time, and for a reset, there is nobody: one line, code 2."""
    settings.data_dir.mkdir()
    main(["agent", "add", "agent1", "--tenant", "acme"])

    assert 0 == main(["agent", "remove", "agent1"])
    capsys.readouterr()

    assert {} == phones(settings)
    assert [2, 2] == [main(["agent", what, "agent1"]) for what in ("remove", "reset")]
    said = capsys.readouterr()
    assert ("", 2) == (said.out, len(said.err.splitlines()))
