"""One node per module of end-to-end tests; each module sets `AGENTS` when it wants more than one desk."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.node import Node, running_node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Node]:
    """A node in processes of its own, and as many desks with phones as the module's `AGENTS`."""
    agents = getattr(request.module, "AGENTS", 1)
    settings = getattr(request.module, "SETTINGS", {})
    async with running_node(tmp_path_factory.mktemp("node"), agents, **settings) as running:
        yield running
