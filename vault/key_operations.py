"""What the door does for keys: names, versions and check values in both directions, never a byte of one."""

import re
from dataclasses import asdict

from vault.door import Refused
from vault.key_office import KeyOffice
from vault.operations import Operation, text
from vault.wire import Json

_BY = re.compile(r"user:[A-Za-z0-9_.@\-]{1,64}")


def key_operations(office: KeyOffice) -> dict[str, Operation]:
    """Every operation on keys by its name."""

    async def vault_keys(_body: Json) -> Json:
        return {"keys": [asdict(line) for line in await office.list()]}

    async def rotate_key(body: Json) -> Json:
        return {"version": await office.rotate(text(body, "name"), _by(body))}

    async def retire_key(body: Json) -> Json:
        return {"version": await office.retire(text(body, "name"), _version(body), _by(body))}

    return {"vault_keys": vault_keys, "rotate_key": rotate_key, "retire_key": retire_key}


def _version(body: Json) -> int:
    version = body.get("version")
    if type(version) is not int:
        raise Refused("bad_request", "The version of a key is an integer.")
    return version


def _by(body: Json) -> str:
    by = text(body, "by")
    if not _BY.fullmatch(by):
        raise Refused("bad_request", "Say which user changes the key.")
    return by
