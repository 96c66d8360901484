"""Reset codes: made by the vault, sent to the member's own address, seen by nobody else."""

from dataclasses import dataclass, field

import pytest

from loyalty.answers import CodeNotSent, CodeSent, Refusal
from loyalty.errors import LoyaltyError
from loyalty.reset import ResetCodes
from pay_ivr.channels import ChannelError, Channels, Medium
from tests.support.loyalty import House
from vault import VaultError

ANNA = "agent:anna"


@dataclass
class Vault:
    """Who makes codes."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)
    error: VaultError | None = None

    async def issue_reset_code(self, tenant: str, member_id: str, by: str) -> str:
        """Eight digits."""
        if self.error is not None:
            raise self.error
        self.asked.append((tenant, member_id, by))
        return "12345678"


def codes(house: House, vault: Vault, *media: Medium) -> ResetCodes:
    """Sends by the house's post box."""
    channels = Channels({"sunny": dict.fromkeys(media, house.post)})
    members = house.loyalty.members
    return ResetCodes(members, vault, channels, {"sunny": house.loyalty.programme("sunny")})


async def test_a_code_goes_to_the_members_own_address(house: House):
    """In his language; the answer says only how."""
    member, vault = await house.member(), Vault()
    answer = await codes(house, vault, Medium.EMAIL, Medium.SMS).send("sunny", member.member_id, by=ANNA)
    assert CodeSent(Medium.EMAIL) == answer
    assert [("sunny", member.member_id, ANNA)] == vault.asked
    (letter,) = house.post.taken
    assert ("anna@example.com", "Ihre PIN bei Sunny Miles") == (letter.to, letter.subject)
    assert "12345678" in letter.text
    assert "12345678" not in repr(letter) + repr(answer)


async def test_no_code_is_made_that_cannot_be_sent(house: House):
    """No address, no channel that the tenant uses for it, a locked member, nobody."""
    vault = Vault()
    member = await house.member(email="")
    sender = codes(house, vault, Medium.EMAIL, Medium.SMS)
    assert CodeNotSent(Refusal.NO_ADDRESS) == await sender.send("sunny", member.member_id, by=ANNA)
    other = await house.member()
    only_sms = codes(house, vault, Medium.SMS)
    assert CodeNotSent(Refusal.NO_ADDRESS) == await only_sms.send("sunny", other.member_id, by=ANNA)
    await house.loyalty.members.lock("sunny", other.member_id, by=ANNA, reason="fraud")
    assert CodeNotSent(Refusal.MEMBER_LOCKED) == await sender.send("sunny", other.member_id, by=ANNA)
    assert CodeNotSent(Refusal.MEMBER_UNKNOWN) == await sender.send("sunny", "mem_nobody", by=ANNA)
    assert [] == vault.asked


async def test_a_channel_that_fails_is_told(house: House):
    """The agent asks again, or uses another way."""
    member = await house.member()
    house.post.away = [ChannelError("message_unsent", "Not now.", retryable=True)]
    answer = await codes(house, Vault(), Medium.EMAIL).send("sunny", member.member_id, by=ANNA)
    assert CodeNotSent(Refusal.NOT_SENT) == answer


async def test_what_the_vault_refuses_keeps_its_code(house: House):
    """As an error of this package."""
    member = await house.member()
    vault = Vault(error=VaultError("pin_limited", "Too often.", retryable=False))
    with pytest.raises(LoyaltyError) as caught:
        await codes(house, vault, Medium.EMAIL).send("sunny", member.member_id, by=ANNA)
    assert "pin_limited" == caught.value.code
