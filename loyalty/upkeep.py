"""What has to be done with nobody on the line: unfinished redemptions and erasures, points past their date.

Every job may run twice, on two nodes or after a kill: each posting has a key made of the job, the day and
the account. So there is no leader to elect, and none whose stop would stop the jobs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime

from loyalty.errors import LoyaltyError
from loyalty.ledger import Ledger
from loyalty.members import Members, Pins
from loyalty.programme import Programme
from loyalty.redemption.redemptions import Redemptions
from pay_ivr.logs import log
from vault import VaultError

LOOK_EVERY_S = 20.0
"""How long after its time a job starts: midnight, or the end of an order's time."""
TOLD_MAX = 20
"""Ids of one log line; `pay-ivr loyalty orders` lists all."""


class Upkeep:
    """The jobs of every tenant."""

    def __init__(
        self,
        redemptions: Redemptions,
        members: Members,
        pins: Pins,
        ledger: Ledger,
        programmes: Mapping[str, Programme],
        clock: Callable[[], datetime],
    ) -> None:
        self._redemptions = redemptions
        self._members = members
        self._pins = pins
        self._ledger = ledger
        self._programmes = programmes
        self._clock = clock
        self._expired: dict[str, date] = {}
        """Tenant → the day for which its points past their date are ended."""
        self._told: dict[str, date] = {}
        """Tenant → the day on which its stranded orders were told."""

    async def run(self) -> None:
        """Works until it is cancelled; a job that fails is tried again in the next round."""
        while True:
            await self.round()
            await asyncio.sleep(LOOK_EVERY_S)

    async def round(self) -> None:
        """Everything that is due now."""
        for tenant in self._programmes:
            await self._try("redemption.settle", tenant, self._redemptions.settle(tenant))
            await self._try("redemption.strand", tenant, self._tell_stranded(tenant))
            await self._try("points.expire", tenant, self._expire(tenant))
            await self._try("erasure.finish", tenant, self._members.finish_erasures(tenant, self._pins))
        await self._try("holds.reap", "", self._reap())

    async def _reap(self) -> None:
        """Every hold whose time is over: the ledger takes some at a time and goes on until a look ends none.

        What was left, as another node has just ended it or the ledger was late, waits for the next round.
        """
        while True:
            reaped = await self._ledger.reap(self._clock())
            if not reaped.posted + reaped.voided:
                return

    async def _expire(self, tenant: str) -> None:
        """Once per day of the tenant's clock, and once after each start."""
        programme = self._programmes[tenant]
        today = programme.today(self._clock())
        if self._expired.get(tenant) == today:
            return
        await self._ledger.expire_due(tenant, programme.programme, today)
        self._expired[tenant] = today
        log.info("points.day.expired", tenant=tenant, day=today.isoformat())

    async def _tell_stranded(self, tenant: str) -> None:
        """Once per day of the tenant's clock, and once after each start: nobody else ends these orders."""
        today = self._programmes[tenant].today(self._clock())
        if self._told.get(tenant) == today:
            return
        stranded = await self._redemptions.stranded(tenant)
        self._told[tenant] = today
        if stranded:
            ids = [order.redemption_id for order in stranded[:TOLD_MAX]]
            log.error("redemption.orders.stranded", tenant=tenant, count=len(stranded), redemption_ids=ids)

    async def _try(self, job: str, tenant: str, work: Awaitable[object]) -> None:
        try:
            await work
        except (LoyaltyError, VaultError) as error:
            log.warning("upkeep.job.failed", job=job, tenant=tenant, code=error.code)
