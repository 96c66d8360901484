"""Node settings: defaults that run, and refusals that name the field."""

from pathlib import Path

import pytest

from pay_ivr.settings import Settings, SettingsError, load_settings


def test_a_node_runs_with_no_settings_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has a default."""
    monkeypatch.delenv("PAY_IVR_SETTINGS", raising=False)

    assert "127.0.0.1" == load_settings().bind_ip


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever starts the node has the last word."""
    (tmp_path / "node.toml").write_text("http_port = 1111\ncalls_max = 7\n", encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_SETTINGS", str(tmp_path / "node.toml"))
    monkeypatch.setenv("PAY_IVR_HTTP_PORT", "2222")

    settings = load_settings()

    assert (2222, 7) == (settings.http_port, settings.calls_max)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("http_port", 70000),
        ("bind_ip", "not-an-address"),
        ("bind_ip", "0.0.0.0"),  # noqa: S104 - refused here
        ("bind_ip", "::1"),
        ("calls_max", 0),
        ("rtp_port_first", 29998),
        ("run_dir", "/tmp/" + "x" * 120),
        ("no_such_field", 1),
        ("trunk_ips", "10.0.0.1 10.0.0.2"),
        ("info_ips", "trunk.example"),
        ("proxy_ips", "10.0.0.300"),
        ("console_origin", "desk.example"),
        ("log_level", "LOUD"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    """The sentence names the field and never needs a traceback."""
    with pytest.raises(SettingsError) as wrong:
        load_settings(**{field: value})

    assert field.partition("_")[0] in str(wrong.value)


def test_a_misspelt_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trunk that is never taken in is worse than a node that does not start."""
    monkeypatch.setenv("PAY_IVR_TRUNK_IP", "10.0.0.1")

    with pytest.raises(SettingsError, match="PAY_IVR_TRUNK_IP: "):
        load_settings()


def test_malformed_toml_is_a_settings_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A broken file says so, with the parser's line."""
    (tmp_path / "node.toml").write_text("http_port = \n", encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_SETTINGS", str(tmp_path / "node.toml"))

    with pytest.raises(SettingsError, match="line 1"):
        load_settings()


def test_address_lists_are_split_and_trimmed() -> None:
    """Two trunks, one space."""
    assert frozenset({"10.0.0.1", "10.0.0.2"}) == Settings(trunk_ips="10.0.0.1, 10.0.0.2").trunks
