"""A process that redeems until it is killed: `python -m tests.support.redeemer DATA_DIR DATABASE`.

It is driven by lines. Each is a JSON object: `round`, and the `port` of the shop. The process forks a child
that redeems as fast as it can, 8 callers at once, and writes each answer to `DATA_DIR/acks` before it asks
the next question. It says the child's id, waits for its end and says `ended`. Forked, because importing anew
for each kill would be most of the test's time.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from loyalty import engines
from loyalty.answers import NotRedeemed, Redeemed
from loyalty.errors import LoyaltyError
from loyalty.programme import VoucherSource
from loyalty.redemption.sources import HttpSource
from tests.support.loyalty import House, open_house

CALLERS = 8
AGAIN_S = 0.05
"""A caller who heard nothing asks again so soon; a killed server is back within a second or two."""
AWAY_MAX = 600
"""Half a minute without the database is no kill any more."""
REWARDS = (("sunny", "tree"), ("rainy", "coffee"), ("sunny", "sauna"))


def source_at(port: int, data_dir: Path) -> HttpSource:
    """The shop's vouchers."""
    url = f"http://127.0.0.1:{port}/orders"
    return HttpSource(VoucherSource(id="spa", url=url), data_dir / "voucher-token")


def open_for(data_dir: Path, database: str, port: int) -> House:
    """The same house for child and test."""
    sources = {("sunny", "spa"): source_at(port, data_dir)}
    return open_house(data_dir, database, sources)


async def redeem(house: House, key: str, members: dict[str, str]) -> dict[str, str | None]:
    """What the key brings: its number says which reward."""
    tenant, reward = REWARDS[int(key.rpartition(".")[2]) % len(REWARDS)]
    answer = await _answer(house, tenant, members[tenant], reward, key)
    if isinstance(answer, Redeemed):
        return {"key": key, "id": answer.redemption_id, "receipt": answer.receipt, "code": answer.code}
    return {"key": key, "refused": answer.code.value}


async def _answer(house: House, tenant: str, member_id: str, reward: str, key: str) -> Redeemed | NotRedeemed:
    """The answer; while nobody knows it, the question is asked again under its key."""
    for _ in range(AWAY_MAX):
        try:
            return await house.loyalty.redeem(
                tenant, member_id, reward, key=key, channel="phone", by="caller"
            )
        except LoyaltyError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(AGAIN_S)
    raise TimeoutError


async def _work(data_dir: Path, database: str, number: int, port: int) -> None:
    members = json.loads((data_dir / "members").read_text(encoding="utf-8"))
    acks = os.open(data_dir / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    house = open_for(data_dir, database, port)

    async def caller(first: int) -> None:
        for step in range(first, 1_000_000, CALLERS):
            key = f"r{number}.{step}"
            os.write(acks, (json.dumps({"asked": key}) + "\n").encode())
            os.write(acks, (json.dumps(await redeem(house, key, members)) + "\n").encode())

    await asyncio.gather(*map(caller, range(CALLERS)))


def main() -> None:
    """One child per line."""
    data_dir, database = Path(sys.argv[1]), sys.argv[2]
    engines.reading(engines.url_of(database)).dispose()  # loads the driver, once for all children
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            asyncio.run(_work(data_dir, database, order["round"], order["port"]))
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
