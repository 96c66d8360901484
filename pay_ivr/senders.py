"""The channels there are: SMTP, an HTTP gateway for SMS, and a folder for demo and tests.

`[messages]` of a tenant's file chooses them. Secrets are files of the data directory's `keys/`, mode 0600:
`smtp-<tenant>` (the password) and `sms-<tenant>` (the gateway's token). Both hosts are called from a thread
of their own, because a message may take seconds and a call may not.
"""

import asyncio
import hashlib
import http.client
import json
import os
import smtplib
import ssl
import stat
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.utils import formatdate
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pay_ivr.channels import Channel, ChannelError, Channels, Medium, Message
from pay_ivr.logs import log
from pay_ivr.tenants import Tenant, checked_section, fault_at

SEND_TIMEOUT_S = 8.0
"""Per network operation: an agent waits for it with the caller on the line."""
ANSWER_BYTES_MAX = 10_000
"""Of a gateway's answer nothing is read but its status; the rest is let go."""
SECRET_BYTES_MAX = 4_096
"""A password or token is a line."""
FOLDER = "messages"
"""Below the data directory: where the local sink writes."""
ACCEPTED = range(200, 300)
BUSY = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP answers after which the same request may be sent again."""

_Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9.\-:]{1,253}$")]
_Port = Annotated[int, Field(ge=1, le=65_535)]
_Sender = Annotated[str, Field(pattern=r"^[^\r\n]{1,200}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SmtpSection(_Section):
    """`[messages.smtp]`: how e-mail leaves."""

    host: _Host
    """Takes submissions (RFC 6409)."""
    port: _Port = 587
    """465 goes with `tls`."""
    security: Literal["starttls", "tls", "plain"] = "starttls"
    """`plain` only to a host on loopback."""
    sender: _Sender
    """As in the From line: `Demo Travel <pay@example.com>`."""
    user: Annotated[str, Field(max_length=200)] = ""
    """Empty: no login. The password is the file `keys/smtp-<tenant>`."""
    ca_file: str = ""
    """PEM of the authority that signed the host's certificate; empty: the machine's own."""

    @model_validator(mode="after")
    def _plain_stays_here(self) -> Self:
        if self.security == "plain" and not _is_loopback(self.host):
            raise ValueError("plain is for a host on loopback only")
        return self


class SmsSection(_Section):
    """`[messages.sms]`: the gateway that sends SMS; JSON over HTTPS, with a bearer token."""

    url: Annotated[str, Field(max_length=500)]
    """`https://…`; `http://` only on loopback. The token is the file `keys/sms-<tenant>`."""
    sender: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9 ]{1,11}|\+[0-9]{7,15})$")]
    """As shown on the telephone."""
    ca_file: str = ""
    """As of `[messages.smtp]`."""

    @model_validator(mode="after")
    def _secret_stays_secret(self) -> Self:
        url = urlsplit(self.url)
        host = url.hostname or ""
        plain = self.url.isascii() and self.url.isprintable() and " " not in self.url
        whole = host and url.port != 0 and url.scheme in {"https", "http"}
        if not plain or not whole or url.username or url.fragment:
            raise ValueError("url must be like https://sms.example/send")
        if url.scheme == "http" and not _is_loopback(host):
            raise ValueError("http is for a host on loopback only")
        return self


class MessagesSection(_Section):
    """`[messages]` of a tenant's file."""

    folder: bool = False
    """Write every message to a file instead of sending it: demo and tests; never for a live tenant."""
    smtp: SmtpSection | None = None
    """E-mail; see `[messages.smtp]`."""
    sms: SmsSection | None = None
    """SMS; see `[messages.sms]`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.folder and (self.smtp or self.sms):
            raise ValueError("folder excludes smtp and sms")
        return self

    @property
    def media(self) -> frozenset[Medium]:
        """What the tenant can send by."""
        ways = {Medium.EMAIL: self.folder or self.smtp, Medium.SMS: self.folder or self.sms}
        return frozenset(medium for medium, way in ways.items() if way)


def channels_of(tenants: Mapping[str, Tenant], tenants_dir: Path, data_dir: Path) -> Channels:
    """Every tenant's channels; TenantError names file and line of a wrong `[messages]`."""
    return Channels(
        {name: _of(tenant, messages_of(tenant, tenants_dir), data_dir) for name, tenant in tenants.items()}
    )


def messages_of(tenant: Tenant, tenants_dir: Path) -> MessagesSection:
    """The tenant's `[messages]`; TenantError names file and line, never a value."""
    path = tenants_dir / f"{tenant.tenant_id}.toml"
    section = checked_section(path, "messages", MessagesSection)
    if section.folder and tenant.live:
        raise fault_at(path, ("messages", "folder"), "a live tenant sends its messages")
    return section


def _of(tenant: Tenant, section: MessagesSection, data_dir: Path) -> dict[Medium, Channel]:
    keys, name = data_dir / "keys", tenant.tenant_id
    if section.folder:
        sink = FolderChannel(data_dir / FOLDER)
        return {Medium.EMAIL: sink, Medium.SMS: sink}
    found: dict[Medium, Channel] = {}
    if section.smtp is not None:
        found[Medium.EMAIL] = SmtpChannel(section.smtp, keys / f"smtp-{name}")
    if section.sms is not None:
        found[Medium.SMS] = SmsGateway(section.sms, keys / f"sms-{name}")
    return found


class FolderChannel:
    """Writes each message to a file named after its key; the same key twice is one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: Message) -> None:
        """The file, whole or not at all; it can be read by the node's own user only."""
        await asyncio.to_thread(self._write, message)

    def _write(self, message: Message) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{message.key.replace(':', '-')}.json"
        body = {"medium": message.medium, "to": message.to, "subject": message.subject, "text": message.text}
        draft = path.with_suffix(".new")
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            json.dump(body, file, ensure_ascii=False)
        draft.rename(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class SmtpChannel:
    """E-mail by SMTP submission (RFC 6409)."""

    def __init__(self, section: SmtpSection, password_file: Path) -> None:
        self._section = section
        self._password_file = password_file

    async def send(self, message: Message) -> None:
        """The host has taken it (250 after DATA)."""
        await _in_thread(self._send, message)

    def _send(self, message: Message) -> None:
        try:
            with self._connected() as host:
                host.send_message(self._mail(message))
        except smtplib.SMTPResponseException as error:
            raise _refused(error.smtp_code) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _refused(max(codes, default=0)) from None

    def _connected(self) -> smtplib.SMTP:
        section = self._section
        context = ssl.create_default_context(cafile=section.ca_file or None)
        if section.security == "tls":
            host: smtplib.SMTP = smtplib.SMTP_SSL(
                section.host, section.port, timeout=SEND_TIMEOUT_S, context=context
            )
        else:
            host = smtplib.SMTP(section.host, section.port, timeout=SEND_TIMEOUT_S)
        try:
            if section.security == "starttls":
                host.starttls(context=context)
            if section.user:
                host.login(section.user, _secret(self._password_file))
        except BaseException:
            host.close()
            raise
        return host

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._section.sender, message.to, message.subject
        mail["Date"] = formatdate()
        # The same message has the same id: mail programs show what was sent twice once.
        digest = hashlib.sha256(message.key.encode()).hexdigest()[:32]
        mail["Message-ID"] = f"<{digest}@{self._section.host}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no robot answers
        mail.set_content(message.text)
        return mail


class SmsGateway:
    """SMS by an HTTP gateway: `{"id", "from", "to", "text"}`, any 2xx means taken.

    `id` is the message's key, also as `Idempotency-Key`. A redirect is a refusal: the token goes nowhere
    else.
    """

    def __init__(self, section: SmsSection, token_file: Path) -> None:
        self._section = section
        self._token_file = token_file

    async def send(self, message: Message) -> None:
        """The gateway has taken it."""
        await _in_thread(self._send, message)

    def _send(self, message: Message) -> None:
        url = urlsplit(self._section.url)
        body = {"id": message.key, "from": self._section.sender, "to": message.to, "text": message.text}
        headers = {
            "Authorization": f"Bearer {_secret(self._token_file)}",
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
        }
        connection = self._connection(url)
        try:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("POST", target, json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()
        if answer.status not in ACCEPTED:
            raise _unsent() if answer.status in BUSY else _turned_away()

    def _connection(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        if url.scheme == "http":
            return http.client.HTTPConnection(host, url.port, timeout=SEND_TIMEOUT_S)
        context = ssl.create_default_context(cafile=self._section.ca_file or None)
        return http.client.HTTPSConnection(host, url.port, timeout=SEND_TIMEOUT_S, context=context)


async def _in_thread(send: Callable[[Message], None], message: Message) -> None:
    """Sends in a thread; every failure is a `ChannelError` that quotes nothing of the host's answer."""
    try:
        await asyncio.to_thread(send, message)
    except ChannelError as error:
        log.warning("message.channel.refused", medium=message.medium.value, code=error.code)
        raise
    except (OSError, ValueError, smtplib.SMTPException, http.client.HTTPException) as error:
        # ValueError: a token of two lines fits no header. Nothing of it may go further, it quotes the token.
        log.warning("message.channel.failed", medium=message.medium.value, error=type(error).__name__)
        raise _unsent() from None


def _secret(path: Path) -> str:
    """The one line of a secret's file; ChannelError when it is missing or others may read it."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077 or path.stat().st_size > SECRET_BYTES_MAX:
            raise PermissionError
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        log.error("message.secret.missing", file=path.name)
        sentence = "The channel's secret is missing or not private. Ask the operator."
        raise ChannelError("message_refused", sentence) from None


def _refused(code: int) -> ChannelError:
    """SMTP's answer: 4yz is passing, everything else is not (RFC 5321 §4.2.1)."""
    return _unsent() if 400 <= code < 500 else _turned_away()


def _unsent() -> ChannelError:
    return ChannelError("message_unsent", "The message could not be sent now. Try again.", retryable=True)


def _turned_away() -> ChannelError:
    return ChannelError("message_refused", "The message was refused. Check the address, or use another one.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
