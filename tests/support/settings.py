"""docs/settings.md, made from fields and docstrings: `python -m tests.support.settings` writes it anew."""

import ast
import inspect
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from loyalty.programme import Announcement, Hours, MenuItem, Programme, Reward, VoucherSource
from pay_ivr.senders import MessagesSection, SmsSection, SmtpSection
from pay_ivr.settings import FILE_VARIABLE, PREFIX, Settings
from pay_ivr.tenants import Did, Telephony
from vault.providers.base import Option, options_of, provider_names
from vault.tenant import FeesSection, LimitsSection, LinksSection, PaymentSection, PinSection

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"

HEAD = f"""# Settings

Every field of a node and of a tenant's file, with its default. This page is generated
(`python -m tests.support.settings`); a test keeps it equal to the code. `pay-ivr check` reads both as a
node would.

## A node

Each field comes from the environment as `{PREFIX}` and its name in capitals, or under its own name from the
TOML file that `{FILE_VARIABLE}` names; the environment wins. A name that is no field is refused."""
TENANT_HEAD = """## A tenant

One tenant is one file `<tenants_dir>/<tenant>.toml`. Above its sections stand `name`, 1 to 80 characters as
spoken and shown, and `live` (default `false`): a live tenant is held to more (`vault/tenant.py`)."""


def document() -> str:
    """The whole page."""
    sections = [
        HEAD,
        _table(Settings),
        TENANT_HEAD,
        "### `[telephony]`\n\n" + _table(Telephony, leave_out=("did",)),
        "### `[[telephony.did]]`, one per number\n\n" + _table(Did),
        "### `[links]`, when payments may be sent as links\n\n" + _table(LinksSection),
        "### `[messages]`\n\n" + _table(MessagesSection),
        "### `[messages.smtp]`\n\n" + _table(SmtpSection),
        "### `[messages.sms]`\n\n" + _table(SmsSection),
        "### `[loyalty]`, when the tenant has members\n\n"
        + _table(Programme, leave_out=("hours", "menu", "reward", "voucher_source", "announcement")),
        "### `[loyalty.hours]`\n\n" + _table(Hours),
        "### `[[loyalty.menu]]`, one per key\n\n" + _table(MenuItem),
        "### `[[loyalty.reward]]`, one per reward\n\n" + _table(Reward),
        "### `[[loyalty.voucher_source]]`, when a shop issues codes itself\n\n" + _table(VoucherSource),
        "### `[loyalty.announcement]`\n\n" + _table(Announcement),
        "### `[pin]`, of the tenant's members\n\n" + _table(PinSection),
        "### `[payment]`\n\n" + _table(PaymentSection, leave_out=("options",)),
        "### `[payment.limits]`\n\n" + _table(LimitsSection),
        "### `[payment.fees.<provider>.<currency>]`\n\n" + _table(FeesSection),
        *(f"### `[payment.{name}]`\n\n" + _options(options_of(name)) for name in provider_names()),
    ]
    return "\n\n".join(sections) + "\n"


def manual(model: type[BaseModel]) -> dict[str, str]:
    """Field → its docstring in one line; a field without one is missing."""
    body = ast.parse(inspect.getsource(model)).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _table(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    words = manual(model)
    rows = ["| field | default | |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {_default(field.default)} | {words[name]} |"
        for name, field in model.model_fields.items()
        if name not in leave_out
    ]
    return "\n".join(rows)


def _options(options: Mapping[str, Option]) -> str:
    rows = ["| field | default | |", "|---|---|---|"]
    for name, option in options.items():
        default = "required" if option.default is None else _default(option.default)
        rows.append(f"| `{name}` | {default} | {option.manual} |")
    return "\n".join(rows)


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if value in (None, "", ()):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{json.dumps(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
