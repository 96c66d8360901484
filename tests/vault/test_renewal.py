"""A provider with a new secret is made anew while payments go on at the old one."""

from typing import Any

from vault.keys import KeyFault
from vault.router import Place, Router


class Made:
    """A provider as far as the router holds it."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


class Maker:
    """Makes providers with the secret of the moment, or none when it is bad."""

    def __init__(self) -> None:
        self.secret = "old"

    def __call__(self, place: Place) -> Any:
        if self.secret == "bad" or (self.secret == "bad for other" and place[0] == "other"):
            raise KeyFault("key_missing", "It is missing.")
        return Made(self.secret)


def routed() -> tuple[Router, Maker]:
    maker = Maker()
    places = [("demo", "alpha"), ("demo", "beta"), ("other", "alpha")]
    return Router({}, {place: maker(place) for place in places}, load=maker), maker


def secrets(router: Router) -> list[str]:
    return [router.at(*place).secret for place in router.places()]  # type: ignore[attr-defined]


async def test_every_tenant_of_the_provider_gets_it_and_no_other_provider_does() -> None:
    """The old ones are closed with the router: what was under way at them ended there."""
    router, maker = routed()
    old = router.at("demo", "alpha")
    maker.secret = "new"
    await router.renew("alpha")
    assert ["new", "old", "new"] == secrets(router)
    assert 0 == old.closed  # type: ignore[attr-defined]
    await router.close()
    assert 1 == old.closed  # type: ignore[attr-defined]


async def test_one_that_cannot_be_made_goes_on_with_its_old_secret() -> None:
    """For the tenant that it concerns alone."""
    router, maker = routed()
    maker.secret = "bad for other"
    await router.renew("alpha")
    assert ["bad for other", "old", "old"] == secrets(router)
    maker.secret = "bad"
    await router.renew("alpha")
    assert ["bad for other", "old", "old"] == secrets(router)
    await router.close()
