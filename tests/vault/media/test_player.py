"""Prompts in memory: limits, order, loops."""

import pytest

from vault import Refused
from vault.media.player import PLAYLIST_MAX, PROMPT_BYTES_MAX, PROMPTS_BYTES_MAX, Playing, Prompts


def test_prompts_play_in_order_as_whole_frames() -> None:
    """The last frame of a prompt is filled up with silence."""
    prompts = Prompts()
    prompts.load("a", b"a" * 161)
    prompts.load("b", b"b" * 160)
    playing = Playing("p", prompts.find(["a", "b", "a"]))
    frames = []
    while (frame := playing.next_frame()) is not None:
        frames.append(frame)
    tail = b"a" + b"\xff" * 159
    assert [b"a" * 160, tail, b"b" * 160, b"a" * 160, tail] == frames


def test_a_loop_never_ends() -> None:
    """Hold music begins again after its last prompt."""
    playing = Playing("p", (b"a" * 160, b"b" * 160), loop=True)
    assert b"abababab" == b"".join((playing.next_frame() or b"")[:1] for _ in range(8))


def test_an_unloaded_prompt_plays_on_and_is_unknown_then() -> None:
    """Forgetting a prompt does not cut a caller's sentence."""
    prompts = Prompts()
    prompts.load("a", b"a" * 160)
    playing = Playing("p", prompts.find(["a"]))
    prompts.unload("a")
    prompts.unload("a")
    assert b"a" * 160 == playing.next_frame()
    assert "a" not in prompts
    with pytest.raises(Refused) as refusal:
        prompts.find(["a"])
    assert "prompt_unknown" == refusal.value.code


def test_limits_hold() -> None:
    """No empty prompt, none above five minutes, none beyond all the memory; a newer one replaces an older."""
    prompts = Prompts()
    for size in (0, PROMPT_BYTES_MAX + 1):
        with pytest.raises(Refused) as refusal:
            prompts.load("a", bytes(size))
        assert "prompt_size" == refusal.value.code
    big = bytes(PROMPT_BYTES_MAX)
    for at in range(PROMPTS_BYTES_MAX // PROMPT_BYTES_MAX):
        prompts.load(f"big_{at}", big)
    prompts.load("big_0", big)
    with pytest.raises(Refused) as refusal:
        prompts.load("one more", big)
    assert "prompts_full" == refusal.value.code
    prompts.unload("big_0")
    prompts.load("one more", big)
    assert PLAYLIST_MAX >= 20
