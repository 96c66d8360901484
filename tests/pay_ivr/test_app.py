"""The app's composition root: a part that dies is noticed."""

import asyncio
from pathlib import Path

import pytest

from pay_ivr.app import App
from pay_ivr.settings import Settings


async def dies() -> None:
    """What no handler foresaw."""
    raise KeyError


@pytest.mark.parametrize("vital", [True, False])
async def test_an_app_without_a_vital_task_gives_up(tmp_path: Path, vital: bool) -> None:
    """Deaf to payments it would only look alive; prompts that are not warm are rendered when needed."""
    given_up: list[bool] = []
    app = App(Settings(data_dir=tmp_path), on_failure=lambda: given_up.append(True))

    app._task(dies(), "dies", vital=vital)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await app.stop()

    assert ([True] if vital else []) == given_up
