"""A tenant's file: what it may say, and how a wrong line is named."""

from pathlib import Path

import pytest

from vault.books.fees import FeeTerms
from vault.door import Refused
from vault.providers.base import Option
from vault.tenant import FILE_BYTES_MAX, TenantError, read_tenant, read_tenants

ROOT = Path(__file__).parents[2]
GOOD = """name = "Demo"
live = false
[telephony]
languages = ["en-US"]
[payment]
provider = "sandbox"
currencies = ["EUR", "JPY"]
amount_max_minor = 500000
purposes = ["booking"]
"""


def written(folder: Path, text: str, name: str = "demo.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_demo_tenant_is_valid():
    """The file that is shipped works."""
    tenant = read_tenants(ROOT / "infra" / "tenants")["demo"]
    assert ("sandbox", False, True) == (tenant.section.provider, tenant.live, tenant.terms.unattended)


def test_defaults_are_the_careful_ones(tmp_path):
    """Nothing unattended and no canary, unless the file says so."""
    tenant = read_tenant(written(tmp_path, GOOD))
    section = tenant.section
    assert (False, False, "moto_agent") == (section.unattended, section.canary, section.sca_agent)
    assert ("demo", ("EUR", "JPY"), ("booking",)) == (
        tenant.name,
        tenant.terms.currencies,
        tenant.terms.purposes,
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('provider = "sandbox"', 'provider = "nobody"', "line 6, field payment.provider"),
        ('["EUR", "JPY"]', '["EUR", "EURO"]', "line 7, field payment.currencies"),
        ('["EUR", "JPY"]', "[]", "line 7, field payment.currencies"),
        ("500000", "0", "line 8, field payment.amount_max_minor"),
        ("500000", '"500000"', "line 8, field payment.amount_max_minor"),
        ("500000", "5000.5", "line 8, field payment.amount_max_minor"),
        ("500000", "100000000", "line 8, field payment.amount_max_minor"),
        ('["booking"]', '["Booking!"]', "line 9, field payment.purposes"),
        ('["booking"]', f'["{"b" * 33}"]', "line 9, field payment.purposes"),
        ("live = false", 'live = "no"', "line 2, field live"),
        ('purposes = ["booking"]', 'purposes = ["booking"]\nsurprise = 1', "line 10, field payment.surprise"),
        ('provider = "sandbox"\n', "", "section [payment], field payment.provider"),
        ('provider = "sandbox"', 'providers = ["sandbox", "nobody"]', "line 6, field payment.providers"),
        ('provider = "sandbox"', 'providers = ["sandbox", "sandbox"]', "line 6, field payment.providers"),
        ('provider = "sandbox"', "providers = []", "section [payment], field payment.provider"),
        (
            'provider = "sandbox"',
            'providers = ["sandbox"]\nprovider = "sandbox"',
            "line 5, field payment: name",
        ),
        ('["booking"]', '["booking"]\noptions = {}', "line 5, field payment: options"),
        ('["booking"]', '["booking"]\n[payment.sandbox]\nholds = 1', "line 11, field payment.sandbox.holds"),
        ('["booking"]', '["booking"]\nsandbox = {hold_s = "1"}', "section [payment], field payment.sandbox"),
        ('["booking"]', '["booking"]\nsandbox = 1', "line 10, field payment.options.sandbox"),
        ("[payment]", "[payments]", "section [payment], field payment"),
        ('["booking"]', '["booking"]\n[pin]\ntries = 0', "line 11, field pin.tries"),
        ('["booking"]', '["booking"]\n[pin]\ndigits_max = 3', "line 11, field pin.digits_max"),
        (
            '["booking"]',
            '["booking"]\n[pin]\ndigits_min = 6\ndigits_max = 5',
            "line 12, field pin.digits_max: is",
        ),
        ('["booking"]', '["booking"]\n[pin]\ndigits_min = 7', "line 10, field pin: digits_min is above"),
    ],
)
def test_wrong_line_is_named_without_its_value(tmp_path, old, new, place):
    """File, line, field and what is wrong; never what stood there."""
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, GOOD.replace(old, new)))
    assert wrong.value.sentence.startswith(f"demo.toml, {place}")
    for value in ("nobody", "EURO", "Booking!", "100000000", "5000.5"):
        assert value not in wrong.value.sentence


def test_several_providers_stand_in_their_order(tmp_path):
    """The first is the one that payments begin with; one alone is a route of one."""
    several = GOOD.replace('provider = "sandbox"', 'providers = ["sandbox_direct", "sandbox"]')
    section = read_tenant(written(tmp_path, several)).section
    assert (("sandbox_direct", "sandbox"), "sandbox_direct") == (section.route, section.provider)
    assert ("sandbox",) == read_tenant(written(tmp_path, GOOD)).section.route
    assert section.cascade is False


def test_options_of_a_provider_are_completed_with_their_defaults(tmp_path):
    """What `load_provider` takes; other providers' options are not mixed in."""
    text = GOOD + "[payment.sandbox]\nhold_s = 60\n[payment.sandbox_direct]\nunreachable = true\n"
    tenant = read_tenant(written(tmp_path, text))
    assert {"tenant": "demo", "hold_s": 60, "unreachable": False} == tenant.config_of("sandbox")
    assert {"tenant": "demo", "hold_s": 604_800, "unreachable": True} == tenant.config_of("sandbox_direct")


def test_option_that_must_be_given_is_asked_for(tmp_path, monkeypatch):
    """Only of providers on the tenant's route."""
    needed = {"account": Option(str, "The account.")}
    monkeypatch.setattr("vault.tenant.options_of", lambda name: needed if name == "sandbox" else {})
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, GOOD))
    assert (
        "demo.toml, section [payment], field payment.sandbox.account: must be given." == wrong.value.sentence
    )
    read_tenant(written(tmp_path, GOOD.replace('"sandbox"', '"sandbox_direct"')))


def test_live_tenant_refuses_a_sandbox_anywhere_on_its_route(tmp_path, real_provider):
    """Not even as the last resort."""
    text = GOOD.replace("live = false", "live = true")
    text = text.replace('provider = "sandbox"', 'providers = ["somebank", "sandbox"]')
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, text))
    assert "sandbox provider" in wrong.value.sentence


def test_broken_toml_is_named_by_its_line(tmp_path):
    """A missing quote has a place."""
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, GOOD.replace('"sandbox"', '"sandbox')))
    assert wrong.value.code == "tenant_unreadable"
    assert "at line 6" in wrong.value.sentence


def test_unreadable_files_are_refused(tmp_path):
    """Another encoding, too long, a strange name, a folder: each has its sentence."""
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe4'")
    (tmp_path / "long.toml").write_text("#" * (FILE_BYTES_MAX + 1))
    (tmp_path / "Demo One.toml").write_text(GOOD)
    (tmp_path / "folder.toml").mkdir()
    codes = {}
    for name in ("latin", "long", "Demo One", "folder"):
        with pytest.raises(TenantError) as wrong:
            read_tenant(tmp_path / f"{name}.toml")
        codes[name] = wrong.value.code
    assert codes == {
        "latin": "tenant_unreadable",
        "long": "tenant_too_long",
        "Demo One": "tenant_name",
        "folder": "tenant_unreadable",
    }


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("", "sandbox"),
        ("canary = true", "sandbox"),
    ],
)
def test_live_tenant_refuses_the_sandbox(tmp_path, more, word):
    """Real money needs a real provider."""
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, GOOD.replace("live = false", "live = true") + more))
    assert word in wrong.value.sentence


@pytest.fixture
def real_provider(monkeypatch):
    """A provider that is no sandbox, by name."""
    monkeypatch.setattr("vault.tenant.provider_names", lambda: ("sandbox", "somebank"))
    monkeypatch.setattr("vault.tenant.options_of", lambda _: {})


@pytest.mark.usefixtures("real_provider")
def test_live_tenant_needs_consent_for_unattended_payments(tmp_path):
    """Somebody must have agreed, and the file says who."""
    live = GOOD.replace("live = false", "live = true").replace('"sandbox"', '"somebank"')
    live += "unattended = true\n"
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, live))
    assert "unattended_consent" in wrong.value.sentence
    tenant = read_tenant(written(tmp_path, live + 'unattended_consent = "M. Muster, 2026-01-02"\n'))
    assert tenant.terms.unattended


@pytest.mark.usefixtures("real_provider")
def test_live_tenant_refuses_a_weak_machine_unless_accepted_on_record(tmp_path):
    """The demo tenant runs anywhere; a live one only on a strong machine, or with a name to the risk."""
    live = GOOD.replace("live = false", "live = true").replace('"sandbox"', '"somebank"')
    strict = read_tenant(written(tmp_path, live))
    strict.check_posture(())
    with pytest.raises(Refused) as refused:
        strict.check_posture(("secret_memory",))
    assert refused.value.code == "posture_weak"
    accepted = read_tenant(written(tmp_path, live + 'posture_accepted = "M. Muster, 2026-01-02"\n'))
    accepted.check_posture(("secret_memory",))
    read_tenant(written(tmp_path, GOOD)).check_posture(("secret_memory", "landlock"))


def test_agreed_fees_are_read_by_provider_and_currency(tmp_path):
    """The books hold a stated fee against them."""
    terms = "[payment.fees.sandbox.EUR]\nbasis_points = 140\nfixed_minor = 25\n"
    assert {"sandbox": {"EUR": FeeTerms(140, 25)}} == read_tenant(written(tmp_path, GOOD + terms)).fees
    assert {} == read_tenant(written(tmp_path, GOOD)).fees


@pytest.mark.parametrize("name", ["nobank.EUR", "sandbox.XXX", "sandbox.eur"])
def test_fees_of_nothing_are_refused(tmp_path, name):
    """A misspelt provider or currency would leave its fees unchecked."""
    with pytest.raises(TenantError) as wrong:
        read_tenant(written(tmp_path, f"{GOOD}[payment.fees.{name}]\nbasis_points = 140\n"))
    assert "fees" in wrong.value.sentence


def test_folder_gives_every_tenant_by_its_name(tmp_path):
    """One file, one tenant; other files are left alone."""
    written(tmp_path, GOOD)
    written(tmp_path, GOOD, "second-one.toml")
    written(tmp_path, "not a tenant", "notes.txt")
    assert {"demo", "second-one"} == set(read_tenants(tmp_path))
