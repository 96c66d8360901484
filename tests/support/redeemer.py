"""A process that redeems until it is killed: `python -m tests.support.redeemer DATA_DIR`, driven by lines.

Each line is a JSON object: `round`, and the `port` of the shop. The process forks a child that redeems as
fast as it can, 8 callers at once, and writes each answer to `DATA_DIR/acks` before it asks the next question.
It says the child's id, waits for its end and says `ended`. Forked, because importing anew for each kill
would be most of the test's time.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from loyalty.answers import Redeemed
from loyalty.programme import VoucherSource
from loyalty.redemption.sources import HttpSource
from tests.support.loyalty import House, open_house

CALLERS = 8
REWARDS = (("sunny", "tree"), ("rainy", "coffee"), ("sunny", "sauna"))


def source_at(port: int, data_dir: Path) -> HttpSource:
    """The shop's vouchers."""
    url = f"http://127.0.0.1:{port}/orders"
    return HttpSource(VoucherSource(id="spa", url=url), data_dir / "voucher-token")


def open_for(data_dir: Path, port: int) -> House:
    """The same house for child and test."""
    sources = {("sunny", "spa"): source_at(port, data_dir)}
    return open_house(data_dir, data_dir / "loyalty.db", sources)


async def redeem(house: House, key: str, members: dict[str, str]) -> dict[str, str | None]:
    """What the key brings: its number says which reward."""
    tenant, reward = REWARDS[int(key.rpartition(".")[2]) % len(REWARDS)]
    answer = await house.loyalty.redeem(
        tenant, members[tenant], reward, key=key, channel="phone", by="caller"
    )
    if isinstance(answer, Redeemed):
        return {"key": key, "id": answer.redemption_id, "receipt": answer.receipt, "code": answer.code}
    return {"key": key, "refused": answer.code.value}


async def _work(data_dir: Path, number: int, port: int) -> None:
    members = json.loads((data_dir / "members").read_text(encoding="utf-8"))
    acks = os.open(data_dir / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    house = open_for(data_dir, port)

    async def caller(first: int) -> None:
        for step in range(first, 1_000_000, CALLERS):
            key = f"r{number}.{step}"
            os.write(acks, (json.dumps({"asked": key}) + "\n").encode())
            os.write(acks, (json.dumps(await redeem(house, key, members)) + "\n").encode())

    await asyncio.gather(*map(caller, range(CALLERS)))


def main() -> None:
    """One child per line."""
    data_dir = Path(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            asyncio.run(_work(data_dir, order["round"], order["port"]))
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
