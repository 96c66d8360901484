"""Stripe in real cells: walled in, over TLS, with nothing of a card left behind whatever happens."""

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cell import ROOT, CellEnds, SpawnerEnds, spawner
from tests.support.connect_proxy import connect_proxy
from tests.support.memory import search
from tests.support.stripe_process import Account, stripe_account
from vault.door import Field
from vault.posture import SPAWNER_ENVIRONMENT
from vault.progress import Open, PostureTold, Ready, TokeniseFailed

VISA, MASTERCARD, NO_TEST_CARD = "4242424242424242", "5555555555554444", "4000000000000259"
STRIPE = ("-m", "vault.spawner", "--provider", "stripe", "--run-dir")
ANSWER_S = 40.0
"""Two tries against a host that never answers, and some more on a busy machine."""


@pytest.fixture(scope="module")
def run_dir() -> Iterator[Path]:
    """Short, and open to a cell's uid."""
    path = Path(tempfile.mkdtemp(prefix="payivr-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def account(run_dir: Path) -> Iterator[Account]:
    with stripe_account(run_dir) as account:
        yield account


@pytest.fixture(scope="module")
def house(run_dir: Path) -> Iterator[SpawnerEnds]:
    """A spawner as the supervisor starts it for a tenant of Stripe's."""
    with spawner(run_dir, command=STRIPE) as ends:
        yield ends


def keyed(
    house: SpawnerEnds, account: Account, config: dict[str, Any] | None = None, pan: str = VISA
) -> CellEnds:
    """A cell that has got its three fields."""
    cell = house.fork("stripe", config=config or account.config())
    account.hand_key(cell.report)
    assert () == cell.until(PostureTold).weak
    cell.say(Open(Field.PAN))
    cell.press(pan + ("#" if pan.startswith("4") else "") + "1231" + "123")
    return cell


def traces(pid: int, pan: str) -> int:
    """Places where ten digits of the PAN in a row stand, in any writable memory."""
    found = search(pid, pan[:10].encode())
    assert found.searched_bytes > 1_000_000
    return found.hits + search(pid, pan[6:].encode()).hits


@pytest.mark.root
def test_a_card_becomes_a_token_and_leaves_nothing(house: SpawnerEnds, account: Account) -> None:
    """The full posture is in force; the SDK's texts and forms are gone; the spawner knows nothing."""
    cell = keyed(house, account, pan=MASTERCARD)
    ready = cell.until(Ready, ANSWER_S)
    assert ("mastercard", "4444") == (ready.brand, ready.last4)
    assert str(ready.token).startswith("pm_")
    assert 0 == traces(cell.pid, MASTERCARD)
    assert 0 == traces(house.process.pid, MASTERCARD)
    assert 0 == search(house.process.pid, account.keys["cell"].encode()).hits
    assert 1 == search(cell.pid, b"0123456789").sealed
    cell.hang_up()


@pytest.mark.root
def test_a_refused_card_leaves_nothing(house: SpawnerEnds, account: Account) -> None:
    """Not in the exception's frames, not in the request that it holds."""
    cell = keyed(house, account, pan=NO_TEST_CARD)
    failed = cell.until(TokeniseFailed, ANSWER_S)
    assert ("test_mode_live_card", None) == (failed.code, failed.field)
    assert 0 == traces(cell.pid, NO_TEST_CARD)
    cell.hang_up()


@pytest.mark.root
@pytest.mark.parametrize("trouble", ["refused", "reset", "closed_port", "foreign_certificate", "denied"])
def test_a_failed_connection_leaves_nothing(house: SpawnerEnds, account: Account, trouble: str) -> None:
    """Whatever the network does, the cell lives on with its secret page and without another trace."""
    with _troubled(account, trouble) as config:
        cell = keyed(house, account, config)
        failed = cell.until(TokeniseFailed, ANSWER_S)
        assert "provider_unreachable" == failed.code
        assert 0 == traces(cell.pid, VISA)
        cell.hang_up()


@pytest.mark.root
@pytest.mark.parametrize("fault", ["stalled_before", "body_stalled"])
def test_an_answer_that_never_comes_leaves_nothing(account: Account, run_dir: Path, fault: str) -> None:
    """Two tries run into their time limit, here a short one, with the whole request sent."""
    folder = run_dir / fault
    folder.mkdir(mode=0o755)
    code = (
        "from vault.providers import stripe\nstripe.preload()\n"
        "from vault.providers import _stripe_cell\n_stripe_cell.READ_TIMEOUT_S = 0.5\n"
        "from vault.spawner import main\nmain()"
    )
    for _ in range(2):
        account.order(fault, path_end="/payment_methods")
    with spawner(folder, command=("-c", code, *STRIPE[2:])) as house:
        cell = keyed(house, account)
        assert "provider_unreachable" == cell.until(TokeniseFailed, ANSWER_S).code
        assert 0 == traces(cell.pid, VISA)
        cell.hang_up()


@pytest.mark.root
def test_the_search_would_find_it(house: SpawnerEnds, account: Account, run_dir: Path) -> None:
    """Without the allocator's settings the same card stays in the heap, and the search says so."""
    folder = run_dir / "plain"
    folder.mkdir(mode=0o755)
    plain = dict.fromkeys(SPAWNER_ENVIRONMENT, "")
    with spawner(folder, command=STRIPE, environment=plain) as weak:
        hits = 0
        for _ in range(5):
            cell = weak.fork("stripe", config=account.config())
            account.hand_key(cell.report)
            assert ("heap_overwritten",) == cell.until(PostureTold).weak
            cell.say(Open(Field.PAN))
            cell.press(VISA + "#" + "1231" + "123")
            cell.until(Ready, ANSWER_S)
            hits += traces(cell.pid, VISA)
            cell.hang_up()
    assert hits > 0


class _Trouble:
    def __init__(self, config: dict[str, Any], close: Callable[[], object]) -> None:
        self._config, self._close = config, close

    def __enter__(self) -> dict[str, Any]:
        return self._config

    def __exit__(self, *_: object) -> None:
        self._close()


def _troubled(account: Account, trouble: str) -> _Trouble:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    base = {"api_base": f"https://127.0.0.1:{port}"}
    match trouble:
        case "refused":
            listener.close()
        case "reset":
            _hang_up_on_everybody(listener)
        case "closed_port":  # its wall lets it out to this port only, where nobody speaks TLS
            listener.close()
            base = {"egress_proxy": f"http://127.0.0.1:{port}"}
        case "foreign_certificate":
            listener.close()
            base = {"ca_file": ""}
        case "denied":
            listener.close()
            proxy = connect_proxy({})
            url = proxy.__enter__().url
            return _Trouble(account.config(egress_proxy=url), lambda: proxy.__exit__(None, None, None))
    return _Trouble(account.config(**base), listener.close)


def _hang_up_on_everybody(listener: socket.socket) -> None:
    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.recv(100)

    threading.Thread(target=serve, daemon=True).start()


def test_a_cell_sends_once_more_when_its_answer_is_lost(house: SpawnerEnds, account: Account) -> None:
    """No money moves by making a payment method."""
    account.order("answer_lost", path_end="/payment_methods")
    cell = keyed(house, account)
    assert cell.until(Ready, ANSWER_S).token
    cell.hang_up()


def test_the_same_cell_asks_for_another_token(house: SpawnerEnds, account: Account) -> None:
    """After a decline only the CVV is new; everything the SDK needs is still there."""
    cell = house.fork("stripe", config=account.config())
    account.hand_key(cell.report)
    cell.until(PostureTold)
    cell.say(Open(Field.PAN))
    cell.press(VISA + "#" + "1231" + "123")
    cell.until(Ready, ANSWER_S)
    cell.open(Field.CVV)
    cell.press("321")
    assert str(cell.until(Ready, ANSWER_S).token).startswith("pm_")
    cell.hang_up()


def test_a_cell_connects_through_the_proxy_to_the_real_name(house: SpawnerEnds, account: Account) -> None:
    """The proxy sees name and port; the certificate is Stripe's; no resolver is asked."""
    with connect_proxy({"api.stripe.com:443": account.place}) as proxy:
        config = account.config(api_base="https://api.stripe.com", egress_proxy=proxy.url)
        cell = keyed(house, account, config)
        assert cell.until(Ready, ANSWER_S).token
        assert ["api.stripe.com:443"] == proxy.asked
        cell.hang_up()


def test_a_cell_connects_to_the_address_it_was_told(house: SpawnerEnds, account: Account) -> None:
    """The address is the broker's answer from the resolver; the certificate must be the name's."""
    _, port = account.place
    base = f"https://api.stripe.com:{port}"
    cell = keyed(house, account, account.config(api_base=base, address="127.0.0.1"))
    assert cell.until(Ready, ANSWER_S).token
    cell.hang_up()
    wrong = keyed(
        house, account, account.config(api_base=f"https://elsewhere.example:{port}", address="127.0.0.1")
    )
    assert "provider_unreachable" == wrong.until(TokeniseFailed, ANSWER_S).code
    wrong.hang_up()


def test_the_sdk_of_a_cell_brings_no_other_http_library() -> None:
    """Also no database and no logger of ours; and a node without a Stripe tenant has no SDK at all."""
    code = (
        "import sys, vault.spawner\n"
        "from vault.providers import stripe as file\n"
        "assert 'stripe' not in sys.modules and 'requests' not in sys.modules\n"
        "file.preload()\n"
        "print([name for name in ('aiohttp', 'httpx', 'anyio', 'sqlalchemy', 'structlog', 'pydantic') "
        "if name in sys.modules], 'stripe' in sys.modules)\n"
        "import threading, aiohttp\n"
        "print(threading.active_count())"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert ["[] True", "1"] == told.stdout.decode().splitlines()


def test_nothing_starts_when_the_sdk_would_print_cards() -> None:
    """STRIPE_LOG=debug writes request bodies on stderr."""
    code = "from vault.providers import stripe as file\nfile.preload()"
    environment = {"PATH": "/usr/bin:/bin", "STRIPE_LOG": "debug"}
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert told.returncode != 0
    assert b"STRIPE_LOG would print cards" in told.stderr
