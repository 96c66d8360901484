"""Fixtures of the whole suite: foreign programs must be there, temp directories stay short."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("landing", max_examples=50)
"""Half of what is tried otherwise: every parser is fuzzed at each landing, and longer in the long runs."""
pytest_plugins = ["tests.support.postgres", "tests.support.tenancy"]


@pytest.fixture(autouse=True)
def _foreign_programs(request: pytest.FixtureRequest) -> None:
    """A missing program fails the test and names the cure; it never skips."""
    for marker in request.node.iter_markers("tool"):
        for name in marker.args:
            if shutil.which(name) is None:
                pytest.fail(f"{name} is missing: run `make tools`")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose Unix socket paths fit into the 107 bytes the kernel allows."""
    path = Path(tempfile.mkdtemp(prefix="payivr-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
