"""Tenant files: the right line is named, nothing is guessed."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.tenants import Numbers, Telephony, Tenant, TenantError, load_tenant, load_tenants

DEMO = Path("infra/tenants/demo.toml").read_text(encoding="utf-8")


def written(folder: Path, text: str, name: str = "acme.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_demo_tenant_routes_its_numbers(tmp_path: Path) -> None:
    """A dialled number leads to tenant and flow, with or without a plus sign."""
    written(tmp_path, DEMO)
    numbers = Numbers(load_tenants(tmp_path))

    route = numbers.route("+4930100002")

    assert route is not None
    assert ("acme", "unattended_payment", "es-ES") == (
        route.tenant.tenant_id,
        route.did.flow,
        route.did.language,
    )
    assert numbers.route("4930999999") is None


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('languages = ["en-US"', 'languages = ["tlh"', "telephony.languages.0"),
        ('number = "4930100002"', 'number = "12x"', "telephony.did.1.number"),
        ('language = "es-ES"', 'language = "tlh"', "telephony.did.1.language"),
        ('flow = "unattended_payment"', "flow = 7", "telephony.did.1.flow"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(tmp_path: Path, old: str, new: str, place: str) -> None:
    """`pay-ivr check` can be read over somebody's shoulder."""
    text = DEMO.replace(old, new)
    line = 1 + text[: text.index(new)].count("\n")

    with pytest.raises(TenantError) as wrong:
        load_tenant(written(tmp_path, text))

    assert f"acme.toml:{line}: {place}: " in str(wrong.value)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.integers(0, 4),
)
def test_a_burst_takes_what_is_idle_and_nobodys_minimum(
    news: list[tuple[str, bool]], kept: tuple[int, ...], shared: int
) -> None:
    """Calls come and go: nobody below his minimum is refused, and no place that nobody has lies idle."""
    least = dict(zip("abc", kept, strict=True))
    calls_max = sum(kept) + shared
    numbers = Numbers(
        {name: Tenant(name, name, live=False, telephony=Telephony(calls_min=least[name])) for name in "abc"}
    )
    live: list[str] = []
    for name, comes in news:
        if comes and numbers.has_room(name, live, calls_max):
            live.append(name)
        elif comes:
            assert live.count(name) >= least[name]
            unused = sum(max(0, least[one] - live.count(one)) for one in "abc")
            assert calls_max == len(live) + unused
        elif name in live:
            live.remove(name)
        assert len(live) <= calls_max


def test_malformed_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    """The parser's own line number reaches the operator."""
    with pytest.raises(TenantError, match=r"acme\.toml: not TOML: .*line 3"):
        load_tenant(written(tmp_path, 'name = "A"\nlive = false\n[telephony\n'))


def test_two_tenants_cannot_own_one_number(tmp_path: Path) -> None:
    """A call must never be a matter of file order."""
    written(tmp_path, DEMO, "a.toml")
    written(tmp_path, DEMO, "b.toml")

    with pytest.raises(TenantError, match=r"b\.toml:9: .*number: is already taken by a\.toml"):
        load_tenants(tmp_path)


def test_a_plus_sign_does_not_make_another_number(tmp_path: Path) -> None:
    """Trunks send both forms, so both mean one owner."""
    other = DEMO.replace('"493010000', '"+493010000').replace("agent1", "agent9")
    written(tmp_path, DEMO, "a.toml")
    written(tmp_path, other, "b.toml")

    with pytest.raises(TenantError, match=r"b\.toml:9: .*is already taken by a\.toml"):
        load_tenants(tmp_path)


def test_an_agent_works_for_one_tenant(tmp_path: Path) -> None:
    """His phone would ring for a tenant whose calls his console may not show."""
    written(tmp_path, DEMO, "a.toml")
    written(tmp_path, DEMO.replace('"493010000', '"493020000'), "b.toml")

    with pytest.raises(TenantError, match=r"b\.toml:12: .*agents: .*already belongs to a\.toml"):
        load_tenants(tmp_path)


def test_an_agent_who_could_not_log_in_is_refused(tmp_path: Path) -> None:
    """The console takes lower-case users only."""
    with pytest.raises(TenantError, match=r"telephony\.did\.0\.agents\.0"):
        load_tenant(written(tmp_path, DEMO.replace('"agent1"', '"Agent One"')))


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    """The next step stands in the sentence."""
    with pytest.raises(TenantError, match=r"copy infra/tenants/demo\.toml"):
        load_tenants(tmp_path)


@given(st.text(max_size=400))
def test_arbitrary_text_is_refused_or_read_never_crashed_on(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """A tenant file is input like any other."""
    path = tmp_path_factory.mktemp("t") / "x.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(TenantError):
        load_tenant(path)
