"""Bad input against the whole node: every refusal says what to do next, and nothing has changed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pay_ivr.proof.desk import DeskRefusal
from tests.support.node import Node, Talk, settled, tenant_text

pytestmark = pytest.mark.slow
on_node = pytest.mark.asyncio(loop_scope="module")

AGENTS = 2
USAGE = 2
COMMAND_S = 90
BODY = {"amount_minor": 1995, "currency": "EUR", "reference": "R-1", "purpose": "booking"}
GOOD_TENANT = tenant_text(agents=1)


def line(text: str, old: str) -> int:
    """Where `old` stands."""
    return text[: text.index(old)].count("\n") + 1


# -- files that a node is started with


def pay_ivr(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """`pay-ivr command` with this folder's tenants and data."""
    own = {"PAY_IVR_TENANTS_DIR": str(folder / "tenants"), "PAY_IVR_DATA_DIR": str(folder / "data")}
    ports = {"PAY_IVR_HTTP_PORT": "0", "PAY_IVR_SIP_UDP_PORT": "0", "PAY_IVR_SIP_TCP_PORT": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "pay_ivr", *command],
        env=os.environ | ports | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; one that does not end is stopped, and that is a failure."""
    try:
        out, err = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        out, err = process.communicate()
    return process.returncode, out, err


def refused_alike(folder: Path, **environment: str) -> str:
    """What `check` says; `serve` says the same, makes nothing and starts nothing."""
    check, serve = [pay_ivr(folder, command, **environment) for command in ("check", "serve")]
    (code, out, said), served = ended(check), ended(serve)
    assert (USAGE, "") == (code, out)
    assert (USAGE, "", said) == served
    assert 1 == said.count("\n")
    assert not (folder / "data").exists()
    return said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('flow = "agent_assisted"', 'flow = "no_such_flow"'),
        ("[telephony]", "[telephony"),
        *(
            pytest.param(*each, marks=pytest.mark.proof)
            for each in (
                ('name = "Demo Travel"', "name = 7"),
                ('provider = "sandbox"', 'provider = "bank_of_nowhere"'),
                ("amount_max_minor = 500000", "amount_max_minor = -1"),
                ("unattended = true", "unattended = maybe"),
            )
        ),
    ],
)
def test_wrong_tenant_line_is_named_and_nothing_starts(tmp_path: Path, old: str, new: str) -> None:
    """`check` and `serve` end with 2 and one sentence that names the file and the line."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "demo.toml").write_text(GOOD_TENANT.replace(old, new))
    number = line(GOOD_TENANT, old)
    said = refused_alike(tmp_path)
    assert said.startswith("pay-ivr: demo.toml")
    assert f"demo.toml:{number}:" in said or f"line {number}," in said, said


def test_tenants_folder_without_tenants_is_refused(tmp_path: Path) -> None:
    """An empty folder is a mistake, not a node without numbers."""
    (tmp_path / "tenants").mkdir()
    assert "no .toml file" in refused_alike(tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rtp_port_first = 20000\nrtp_port_last = 20001", "rtp_port_last"),
        *(
            pytest.param(*each, marks=pytest.mark.proof)
            for each in (
                ("rtp_port_first = 80", "rtp_port_first"),
                ('trunk_ip = "192.0.2.1"', "trunk_ip"),
                ("calls_max = 10\nring_timeout_s = = 1", "line 2"),
            )
        ),
    ],
)
def test_wrong_setting_is_named_and_nothing_starts(tmp_path: Path, text: str, named: str) -> None:
    """A value out of its bounds, an unknown name, text that is not TOML."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "demo.toml").write_text(GOOD_TENANT)
    settings = tmp_path / "settings.toml"
    settings.write_text(text)
    assert named in refused_alike(tmp_path, PAY_IVR_SETTINGS=str(settings))


@pytest.mark.parametrize(
    "command", [["agent", "add", "agent9"], pytest.param(["key", "add", "shop"], marks=pytest.mark.proof)]
)
def test_nothing_is_made_for_an_unknown_tenant(tmp_path: Path, command: list[str]) -> None:
    """An agent or an access key of a tenant that has no file would never work; it is not made."""
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "demo.toml").write_text(GOOD_TENANT)
    code, out, said = ended(pay_ivr(tmp_path, *command, "--tenant", "nobody"))
    assert (USAGE, "") == (code, out)
    assert "no such tenant" in said
    assert not (tmp_path / "data").exists()


# -- requests on a live call


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(node: Node) -> AsyncIterator[Talk]:
    """A bridged call that all tests below share."""
    async with node.places[0].call() as bridged:
        yield bridged


@asynccontextmanager
async def nothing_changes(node: Node, talk: Talk) -> AsyncIterator[None]:
    """Payments, versions, attempts, audit entries and the call are afterwards what they were before."""
    before = await settled(node), await talk.desk.call("GET", f"/v1/calls/{talk.call_id}")
    yield
    after = await settled(node), await talk.desk.call("GET", f"/v1/calls/{talk.call_id}")
    assert sorted(before[0][0]) == sorted(after[0][0])
    assert before[0][1] == after[0][1]
    assert {**before[1], "call": 0} == {**after[1], "call": 0}


async def refusal(talk: Talk, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    """Status and code of the problem document; it is whole and says what to do next."""
    with pytest.raises(DeskRefusal) as refused:
        await talk.desk.call("POST", path, body)
    problem = refused.value.problem
    assert f"urn:pay-ivr:problem:{refused.value.code}" == problem["type"]
    assert refused.value.status == problem["status"]
    assert problem["title"].endswith(".")
    assert problem["next_step"].endswith(".")
    return refused.value.status, refused.value.code


async def created(talk: Talk, reference: str) -> str:
    """A payment of its own on the call."""
    body = BODY | {"reference": reference}
    return str((await talk.desk.call("POST", f"/v1/calls/{talk.call_id}/payments", body))["payment_id"])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"currency": "XXQ"}, (422, "currency_unknown")),
        ({"currency": "CHF"}, (422, "currency_not_offered")),
        ({"currency": "eur"}, (422, "body_invalid")),
        ({"amount_minor": 0}, (422, "body_invalid")),
        ({"amount_minor": -1995}, (422, "body_invalid")),
        ({"amount_minor": 19.95}, (422, "body_invalid")),
        ({"amount_minor": "1995"}, (422, "body_invalid")),
        ({"amount_minor": 500_001}, (422, "amount_too_large")),
        ({"amount_minor": 10**30}, (422, "body_invalid")),
        ({"purpose": "bribe"}, (422, "purpose_unknown")),
        ({"reference": "R 4242 4242 4242 4242"}, (422, "pan_not_allowed")),
        ({"reference": ""}, (422, "body_invalid")),
        ({"surprise": True}, (422, "body_invalid")),
    ],
    ids=str,
)
@on_node
async def test_payment_that_cannot_be_is_not_made(
    node: Node, talk: Talk, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Currency, amount, purpose and reference, wrong in every way; the document quotes nothing of it."""
    async with nothing_changes(node, talk):
        assert expected == await refusal(talk, f"/v1/calls/{talk.call_id}/payments", BODY | changed)


@on_node
async def test_unknown_call_and_payment_are_refused(node: Node, talk: Talk) -> None:
    """Ids that nobody has given."""
    async with nothing_changes(node, talk):
        assert (404, "call_unknown") == await refusal(talk, "/v1/calls/call_nobody/payments", BODY)
        for button in ("capture", "charge", "cancel", "retry"):
            assert (404, "payment_unknown") == await refusal(talk, f"/v1/payments/pay_nobody/{button}")


@on_node
async def test_buttons_before_the_capture_do_nothing(node: Node, talk: Talk) -> None:
    """Charge, re-key, talk and retry need something that is not there yet."""
    payment = f"/v1/payments/{await created(talk, 'R-before')}"
    async with nothing_changes(node, talk):
        assert (409, "not_ready") == await refusal(talk, f"{payment}/charge")
        assert (409, "not_rekeyable") == await refusal(talk, f"{payment}/rekey", {"field": "cvv"})
        assert (409, "not_capturing") == await refusal(talk, f"{payment}/talk", {"on": True})
        assert (409, "not_declined") == await refusal(talk, f"{payment}/retry")
        assert (422, "body_invalid") == await refusal(talk, f"{payment}/rekey", {"field": "iban"})
    await talk.desk.call("POST", f"{payment}/cancel")


@on_node
async def test_second_capture_on_one_call_is_refused(node: Node, talk: Talk) -> None:
    """The first goes on; also a second start of the first, and a charge while it is keyed, change nothing."""
    first, second = await created(talk, "R-first"), await created(talk, "R-second")
    await talk.desk.call("POST", f"/v1/payments/{first}/capture")
    async with nothing_changes(node, talk):
        assert (409, "capture_open") == await refusal(talk, f"/v1/payments/{second}/capture")
        assert (409, "not_capturable") == await refusal(talk, f"/v1/payments/{first}/capture")
        assert (409, "not_ready") == await refusal(talk, f"/v1/payments/{first}/charge")
        assert "capturing" == talk.desk.payment(first)["state"]
    for payment in (first, second):
        await talk.desk.call("POST", f"/v1/payments/{payment}/cancel")


@on_node
async def test_payment_is_charged_once(node: Node, talk: Talk) -> None:
    """Five charges at once: one result, one attempt; afterwards nothing can be done to it any more."""
    await talk.start(reference="R-once")
    await talk.key_card()
    await talk.until("ready")
    path = f"/v1/payments/{talk.payment_id}"
    pressed = await asyncio.gather(*(talk.desk.call("POST", f"{path}/charge") for _ in range(5)))
    assert [(talk.payment_id, 1)] * 5 == [(one["payment_id"], one["attempt"]) for one in pressed]
    await talk.until("settled")
    assert 1 == node.audit_rows().count("payment.attempt.sent")
    async with nothing_changes(node, talk):
        assert "settled" == (await talk.desk.call("POST", f"{path}/charge"))["state"]
        for button, code in (
            ("capture", "not_capturable"),
            ("retry", "not_declined"),
            ("cancel", "not_cancellable"),
        ):
            assert (409, code) == await refusal(talk, f"{path}/{button}")
        body = BODY | {"reference": "R-once"}
        assert (409, "reference_taken") == await refusal(talk, f"/v1/calls/{talk.call_id}/payments", body)


@on_node
async def test_dead_call_takes_no_payment(node: Node) -> None:
    """The caller has hung up: no payment, no capture, no second hang-up."""
    async with node.places[1].call() as ended:
        payment = await created(ended, "R-dead")
    await ended.desk.until(lambda: ended.desk.payment(payment).get("state") == "cancelled")
    async with nothing_changes(node, ended):
        assert (409, "call_ended") == await refusal(ended, f"/v1/calls/{ended.call_id}/payments", BODY)
        assert (409, "call_ended") == await refusal(ended, f"/v1/payments/{payment}/capture")
        assert (409, "call_ended") == await refusal(ended, f"/v1/calls/{ended.call_id}/hang-up")
