"""The rig of `vault/providers/sandbox_direct.py`."""

from functools import partial

from tests.support.provider_hosts._sandbox import rig_of_sandbox

rig = partial(rig_of_sandbox, "sandbox_direct")
