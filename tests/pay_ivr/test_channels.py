"""Messages: real SMTP and HTTPS hosts, a folder, and no address where it does not belong."""

import email
import email.policy
import json
import logging
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pay_ivr.channels import Channel, ChannelError, Channels, Medium, Message, check_address
from pay_ivr.senders import (
    FolderChannel,
    SmsGateway,
    SmsSection,
    SmtpChannel,
    SmtpSection,
    channels_of,
    messages_of,
)
from pay_ivr.tenants import TenantError, load_tenants
from tests.support.mail_host import (
    BUSY_TO,
    CA_FILE,
    PASSWORD,
    TOKEN,
    UNKNOWN_TO,
    USER,
    Gateway,
    MailHost,
    serving,
)

TO, NUMBER = "payer@example.com", "+4915112345678"
SENDER = "Müller Reisen <pay@example.com>"
TENANT = """
name = "Demo"
live = {live}
[telephony]
[payment]
[messages]
{messages}
"""


def mail(to: str = TO, key: str = "msg_one") -> Message:
    return Message(
        key, Medium.EMAIL, to, "Ihre Zahlung", "19,95 € – bitte zahlen\n.\nhttps://x.example/pay/t"
    )


def sms(to: str = NUMBER) -> Message:
    return Message("msg_two", Medium.SMS, to, "", "Demo: 19,95 €")


def secret(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def smtp(host: MailHost, folder: Path, password: str = PASSWORD, **changes: object) -> SmtpChannel:
    values = {"host": "127.0.0.1", "port": host.port, "sender": SENDER, "user": USER}
    values |= {"ca_file": str(folder / CA_FILE), "security": host.tls, **changes}
    return SmtpChannel(SmtpSection.model_validate(values), secret(folder, password))


async def problem(channel: Channel, message: Message) -> tuple[str, bool]:
    with pytest.raises(ChannelError) as refused:
        await channel.send(message)
    assert message.to not in str(refused.value)
    return refused.value.code, refused.value.retryable


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_mail_is_taken_by_a_real_host(tmp_path, tls):
    """Over TLS, after a login: sender, recipient, umlauts and a lonely dot arrive as they were."""
    with serving(MailHost(tmp_path, tls=tls)) as host:
        channel = smtp(host, tmp_path)
        await channel.send(mail())
        await channel.send(mail())
    (to, raw), (_, again) = host.mails
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert (TO, TO, SENDER, "Ihre Zahlung") == (to, read["To"], str(read["From"]), read["Subject"])
    assert mail().text in read.get_content().replace("\r\n", "\n")
    assert read["Message-ID"] == email.message_from_bytes(again)["Message-ID"]


async def test_a_mail_that_is_not_taken_says_what_to_do(tmp_path):
    """Passing refusals may be repeated, others not; without a host, and without trust, nothing is sent."""
    with serving(MailHost(tmp_path)) as host:
        channel = smtp(host, tmp_path)
        assert ("message_refused", False) == await problem(channel, mail(UNKNOWN_TO))
        assert ("message_unsent", True) == await problem(channel, mail(BUSY_TO))
        assert ("message_refused", False) == await problem(smtp(host, tmp_path, "wrong"), mail())
        untrusting = smtp(host, tmp_path, ca_file="")
        assert ("message_unsent", True) == await problem(untrusting, mail())
    assert ("message_unsent", True) == await problem(smtp(host, tmp_path), mail())
    assert [] == host.mails


async def test_a_secret_that_others_can_read_is_not_used(tmp_path):
    """The operator is asked; the password goes nowhere."""
    with serving(MailHost(tmp_path)) as host:
        channel = smtp(host, tmp_path)
        (tmp_path / "secret").chmod(0o644)
        assert ("message_refused", False) == await problem(channel, mail())
        (tmp_path / "secret").unlink()
        assert ("message_refused", False) == await problem(channel, mail())


async def test_an_sms_is_taken_by_a_gateway(tmp_path):
    """JSON, token and key over TLS; a busy gateway may be asked again, a redirect is not followed."""
    with serving(Gateway(tmp_path)) as gateway:
        section = SmsSection(url=gateway.url, sender="Demo", ca_file=str(tmp_path / CA_FILE))
        channel = SmsGateway(section, secret(tmp_path, TOKEN))
        await channel.send(sms())
        for gateway.status, expected in ((503, ("message_unsent", True)), (307, ("message_refused", False))):
            assert expected == await problem(channel, sms())
        torn = SmsGateway(section, secret(tmp_path, "two\nlines"))
        assert ("message_unsent", True) == await problem(torn, sms())
    body = {"id": "msg_two", "from": "Demo", "to": NUMBER, "text": "Demo: 19,95 €", "key": "msg_two"}
    assert [body] == gateway.taken


async def test_a_folder_keeps_messages_to_itself(tmp_path):
    """Whole files, for the node's user only; the same message is one file."""
    channel = FolderChannel(tmp_path / "messages")
    for message in (mail(key="pay_x:1"), mail(key="pay_x:1"), sms()):
        await channel.send(message)
    files = sorted((tmp_path / "messages").iterdir())
    assert ["msg_two.json", "pay_x-1.json"] == [path.name for path in files]
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}
    assert {TO, NUMBER} == {json.loads(path.read_text())["to"] for path in files}


async def test_no_address_is_shown(tmp_path, caplog, capsys):
    """Neither in a repr nor, whatever fails, in a log."""
    caplog.set_level(logging.DEBUG)
    with serving(MailHost(tmp_path)) as host:
        await problem(smtp(host, tmp_path), mail(UNKNOWN_TO))
    said = caplog.text + "".join(capsys.readouterr()) + repr(mail(UNKNOWN_TO))
    assert UNKNOWN_TO not in said


@pytest.mark.parametrize(
    ("medium", "to"),
    [
        (Medium.EMAIL, "payer"), (Medium.EMAIL, "a@b"), (Medium.EMAIL, "a b@example.com"),
        (Medium.EMAIL, "a@example.com\r\nBcc: b@example.com"), (Medium.EMAIL, "a@example.com,b@example.com"),
        (Medium.SMS, "015112345678"), (Medium.SMS, "+0151"), (Medium.SMS, "+4242424242424242"),
        (Medium.SMS, TO),
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(medium, to):
    """Two recipients, a header of one's own, a number without its country, a PAN."""
    with pytest.raises(ChannelError) as refused:
        check_address(medium, to)
    assert "address_malformed" == refused.value.code
    assert to not in refused.value.sentence


@given(st.sampled_from(list(Medium)), st.text())
def test_an_address_never_breaks_a_header(medium, text):
    """Whatever is taken is one printable line without a comma."""
    try:
        check_address(medium, text)
    except ChannelError:
        return
    assert text.isprintable()
    assert not set(text) & set(',;<> "\\')


@pytest.mark.parametrize(
    ("messages", "live", "place"),
    [
        ("folder = true", "true", "messages.folder"),
        (
            '[messages.smtp]\nhost = "mail.example"\nsender = "a"\nsecurity = "plain"',
            "false",
            "messages.smtp",
        ),
        ('[messages.sms]\nurl = "http://sms.example/"\nsender = "Demo"', "false", "messages.sms"),
        ('[messages.sms]\nurl = "https://u:secret@sms.example/"\nsender = "Demo"', "false", "messages.sms"),
        ('[messages.sms]\nurl = "https://s.example:70000/"\nsender = "Demo"', "false", "messages.sms"),
        ('folder = true\n[messages.sms]\nurl = "https://s.example/"\nsender = "D"', "false", "messages"),
    ],
)
def test_a_wrong_section_is_named(tmp_path, messages, live, place):
    """File, line and field; never a value."""
    (tmp_path / "demo.toml").write_text(TENANT.format(messages=messages, live=live))
    (tenant,) = load_tenants(tmp_path).values()
    with pytest.raises(TenantError, match=rf"demo\.toml:\d+: {place}") as refused:
        messages_of(tenant, tmp_path)
    assert "secret" not in str(refused.value)


async def test_a_tenant_without_a_channel_sends_nothing(tmp_path):
    """What it has is told; what it has not is refused."""
    (tmp_path / "demo.toml").write_text(TENANT.format(messages="folder = true", live="false"))
    channels = channels_of(load_tenants(tmp_path), tmp_path, tmp_path)
    assert (Medium.EMAIL, Medium.SMS) == channels.media_of("demo")
    assert () == Channels({}).media_of("demo")
    with pytest.raises(ChannelError, match="Use another channel"):
        await Channels({}).send("demo", sms())
