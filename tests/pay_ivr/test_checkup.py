"""`pay-ivr check`: the wrong line is named, before a node starts with it."""

from pathlib import Path

import pytest

from pay_ivr.__main__ import main

DEMO = Path("infra/tenants/demo.toml").read_text(encoding="utf-8")


def run(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    (folder / "acme.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_TENANTS_DIR", str(folder))
    return main(["check"])


def test_good_files_are_called_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was read is said."""
    assert 0 == run(tmp_path, DEMO, monkeypatch)
    assert "1 tenant(s) and 6 number(s) are right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('flow = "agent_assisted"', 'flow = "no_such_flow"', "No flow has that name"),
        ('agents = ["agent1"]', "agents = []", "agent_assisted needs agents"),
        ('provider = "sandbox"', 'provider = "no_such"', "acme.toml"),
        ('currencies = ["EUR", "USD", "JPY"]', 'currencies = ["XXY"]', "acme.toml"),
        ("live = false", "live = true", "acme.toml"),
        ("[payment]", "[payment", "not TOML"),
        ("[messages]", "[message]", "acme.toml:46: message: there is no such section"),
        ("[messages]", "[pins]\ntries = 5\n[messages]", "acme.toml:46: pins: there is no such section"),
        ("[messages]", "[pin]\ndigits_min = 5\ndigits_max = 4\n[messages]", "line 48, field pin.digits_max"),
        (
            "[messages]",
            '[webhooks]\nca_file = "/nowhere.pem"\n[messages]',
            "acme.toml:47: webhooks.ca_file: cannot be read as certificates",
        ),
        (
            "[messages]",
            '[[loyalty.voucher_source]]\nid = "spa"\nurl = "https://a.example"\nca_file = "/no"\n[messages]',
            "acme.toml:49: loyalty.voucher_source.0.ca_file: cannot be read",
        ),
        ("folder = true", "folder = false", "acme.toml:64: loyalty.reset_by: [messages] has no email and no"),
    ],
)
def test_a_wrong_line_is_named_and_the_code_is_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    sentence: str,
) -> None:
    """Telephony and payment sections alike, each by its owner's reader."""
    assert 2 == run(tmp_path, DEMO.replace(old, new), monkeypatch)
    assert sentence in capsys.readouterr().err
