"""`pay-ivr check`: reads settings and every tenant file as a node would, and names the first wrong line.

The `[payment]` section is the vault's; its own reader checks it, in a process of its own,
because nothing here may import it.
"""

import subprocess
import sys

from pay_ivr.facts import CallError
from pay_ivr.flow import load_flow
from pay_ivr.settings import Settings
from pay_ivr.tenants import TenantError, load_tenants


def check(settings: Settings) -> int:
    """0 when a node could start with these files; the lines printed say what was read."""
    tenants = load_tenants(settings.tenants_dir)
    for tenant in tenants.values():
        for did in tenant.telephony.did:
            try:
                load_flow(did.flow)
            except CallError as error:
                raise TenantError(f"{tenant.tenant_id}.toml: {did.number}: {error.sentence}") from None
            if did.flow == "agent_assisted" and not did.agents:
                raise TenantError(f"{tenant.tenant_id}.toml: {did.number}: agent_assisted needs agents")
    reader = [sys.executable, "-m", "vault.tenant", str(settings.tenants_dir)]
    result = subprocess.run(reader, capture_output=True, text=True, check=False, timeout=30)
    if result.returncode != 0:
        raise TenantError(
            result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "[payment] is wrong"
        )
    numbers = sum(len(tenant.telephony.did) for tenant in tenants.values())
    sys.stdout.write(f"check: settings, {len(tenants)} tenant(s) and {numbers} number(s) are right\n")
    return 0
