"""Random numbers of a simulation: all from one seed, and as many independent streams as there are parts."""

import random


def seeded(name: str) -> random.Random:
    """The stream of a name; the same name is the same stream."""
    return random.Random(name)  # noqa: S311 - a simulation, replayed by its seed


def split(dice: random.Random) -> random.Random:
    """A stream of its own, so that one part's draws do not move another's."""
    return random.Random(dice.random())  # noqa: S311 - as above
