"""One node per module of end-to-end tests; each module says how many desks it wants."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.node import Node, running_node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Node]:
    """A node in processes of its own, with `AGENTS` desks; those of `WITHOUT_PHONE` bring their own.

    `MORE` are sections of its tenant's file.
    """
    agents = getattr(request.module, "AGENTS", 1)
    without_phone = getattr(request.module, "WITHOUT_PHONE", ())
    more = getattr(request.module, "MORE", "")
    async with running_node(tmp_path_factory.mktemp("node"), agents, without_phone, more) as running:
        yield running
