"""`pay-ivr voucher` and `pay-ivr loyalty` as an operator types them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pay_ivr.__main__ import main

SUNNY = """
name = "Sunny Shops"
[telephony]
languages = ["de-DE"]
[loyalty]
programme = "miles"
name = "Sunny Miles"
[[loyalty.reward]]
id = "coffee"
kind = "voucher"
points = 200
names = { "de-DE" = "ein Kaffee" }
"""
MEMBERS = "number,family_name,born,points\n1000001,Grün,1980-12-31,500\n1000002,Braun,1981-01-31,0\n"


def test_stock_receipts_and_the_months_figures(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Codes all or none; a receipt once; liability, and who took part."""
    (short_dir / "tenants").mkdir()
    (short_dir / "tenants" / "sunny.toml").write_text(SUNNY, encoding="utf-8")
    (short_dir / "members.csv").write_text(MEMBERS, encoding="utf-8")
    (short_dir / "codes.txt").write_text("CAFE-1\nCAFE 2\nCAFE-1\n", encoding="utf-8")
    monkeypatch.setenv("PAY_IVR_TENANTS_DIR", str(short_dir / "tenants"))
    monkeypatch.setenv("PAY_IVR_DATA_DIR", str(short_dir / "data"))
    of_sunny = ["--tenant", "sunny"]

    def typed(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words), *of_sunny])
        return code, *capsys.readouterr()

    assert 0 == typed("member", "import", short_dir / "members.csv")[0]
    load = ("voucher", "import", short_dir / "codes.txt", "--reward", "coffee")
    code, _, complaint = typed(*load)
    assert (1, True) == (code, complaint.startswith("codes.txt:2: is no code"))
    (short_dir / "codes.txt").write_text("CAFE-1\nCAFE-2\n", encoding="utf-8")
    assert (0, "2 codes taken; 2 are free for coffee\n", "") == typed(*load)
    assert (0, ["coffee", "2"]) == (typed("voucher", "stock")[0], typed("voucher", "stock")[1].split())

    earn = ("loyalty", "earn", "1000002", 300, "--receipt", "T-17")
    assert "300 points; 300 available" in typed(*earn)[1]
    assert "booked before" in typed(*earn)[1]
    assert (0, "", "") == typed("loyalty", "orders")
    code, _, complaint = typed(
        "loyalty", "end-order", "red_nobody", "--never-issued", "--reason", "shop_left"
    )
    assert (True, True) == (code != 0, "There is no such redemption." in complaint)
    code, said, _ = typed("loyalty", "roll-forward", f"{datetime.now(UTC):%Y-%m}")
    figures = {line.rpartition(" ")[0].strip(): line.rpartition(" ")[2] for line in said.splitlines()}
    assert (0, "800", "800") == (code, figures["earned"], figures["closing"])
    took_part = [figures[f"members {name}"] for name in ("enrolled", "active", "earning", "spending")]
    assert ["2", "2", "2", "0"] == took_part
