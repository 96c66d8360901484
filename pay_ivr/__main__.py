"""The command line: `pay-ivr serve | demo | verify | check | reconcile`, and what an operator administers.

Every command says what it does while it does it, and ends with 0 only when all of it is right.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loyalty.errors import LoyaltyError
from pay_ivr.facts import CallError
from pay_ivr.languages import languages
from pay_ivr.loyalty_commands import BESIDE, add_loyalty, add_loyalty_key, add_member, add_voucher
from pay_ivr.settings import SettingsError, load_settings
from pay_ivr.supervisor import NodeError
from pay_ivr.tenants import TenantError
from vault import VaultError

if TYPE_CHECKING:
    from pay_ivr.node import NewAgentLogin
    from pay_ivr.people import Permission

OK, WRONG, USAGE = 0, 1, 2
OF_AGENTS = ("settle", "refund", "members", "points", "payout")
OF_KEYS = ("settle", "refund", "charge", "members", "points")
"""What an agent and an access key may be given (`Permission`); a payout is decided by a person."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (SettingsError, TenantError, CallError) as error:
        print(f"pay-ivr: {error}", file=sys.stderr)
        return USAGE
    except (NodeError, VaultError, LoyaltyError) as error:
        print(f"pay-ivr: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return WRONG
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pay-ivr", description="Card payments and PINs by telephone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run a node until it is stopped")
    serve.add_argument("--log-file", type=Path, help="logs of all processes go here instead of the terminal")
    serve.set_defaults(run=_serve)

    demo = commands.add_parser("demo", help="real calls on a node of its own; leaves var/demo/index.html")
    demo.add_argument("--out", type=Path, default=Path("var/demo"))
    demo.set_defaults(run=_demo)

    _add_verify(commands.add_parser("verify", help="prove something about this build"))

    check = commands.add_parser("check", help="check settings and tenant files; names the wrong line")
    check.set_defaults(run=_check)

    _add_reconcile(commands.add_parser("reconcile", help="our books against the provider's statement"))

    _add_agent(commands.add_parser("agent", help="agents of the desk"))

    _add_key(commands.add_parser("key", help="access keys of integrators"))

    _add_webhook(commands.add_parser("webhook", help="where a tenant's own systems hear of payments"))

    add_voucher(commands.add_parser("voucher", help="codes of vouchers", description=BESIDE))

    add_loyalty(commands.add_parser("loyalty", help="points and their figures", description=BESIDE))

    add_member(commands.add_parser("member", help="members of a loyalty programme", description=BESIDE))

    _add_vault_key(commands.add_parser("vault-key", help="the vault's own keys and the providers' secrets"))

    add_loyalty_key(commands.add_parser("loyalty-key", help="the members' root key", description=BESIDE))

    _add_prompts(commands.add_parser("prompts", help="what callers hear: to listen to, to check, to record"))

    app = commands.add_parser("app", help="the app process alone; `serve` starts it")
    app.set_defaults(run=_app)
    return parser


def _add_verify(parser: argparse.ArgumentParser) -> None:
    proofs = parser.add_subparsers(required=True, metavar="WHAT")
    leak = proofs.add_parser("leak", help="canary cards over every transport; nothing may come through")
    leak.add_argument(
        "--runs", type=int, default=0, help="calls to place; default: what fits into five minutes"
    )
    leak.add_argument("--json", type=Path, help="write the findings here")
    leak.set_defaults(run=_verify_leak)

    charges = proofs.add_parser(
        "charges", help="simulated payments under faults and kills; none twice or lost"
    )
    charges.add_argument("--seeds", type=int, default=5_000, help="lives to simulate; default: 5000")
    charges.add_argument("--seed", type=int, help="replay one life and tell it line by line")
    charges.add_argument("--json", type=Path, help="write the JSON line here")
    charges.set_defaults(run=_verify_charges)

    pins = proofs.add_parser("pins", help="simulated attacks on PINs; none finds more than the limits allow")
    pins.add_argument("--guesses", type=int, default=100_000, help="of all attacks together; default: 100000")
    pins.add_argument("--seed", type=int, default=1, help="another seed is another run")
    pins.add_argument("--json", type=Path, help="write the JSON line here")
    pins.set_defaults(run=_verify_pins)

    ledger = proofs.add_parser(
        "ledger", help="points booked while processes are killed; none lost or doubled"
    )
    ledger.add_argument("--clients", type=int, default=64, help="callers at once; default: 64")
    ledger.add_argument("--seconds", type=float, default=20.0, help="for how long; default: 20")
    ledger.add_argument(
        "--postgres", default="", metavar="URL", help="an empty database, or `embedded`; default: SQLite"
    )
    ledger.add_argument("--json", type=Path, help="write the findings here")
    ledger.set_defaults(run=_verify_ledger)


def _add_agent(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    add = acts.add_parser("add", help="a new agent: console login and phone password, shown once")
    add.add_argument("agent_id")
    add.add_argument("--tenant", required=True)
    add.add_argument("--language", default="en-US", choices=tuple(languages()), help="of the console")
    _add_may(add, *OF_AGENTS)
    add.set_defaults(run=_agent_add)

    allow = acts.add_parser("allow", help="what an agent may do with the payments of others; replaces")
    allow.add_argument("agent_id", metavar="USER")
    _add_may(allow, *OF_AGENTS)
    allow.set_defaults(run=_agent_allow)

    reset = acts.add_parser("reset", help="new passwords, shown once; the agent's logins end at once")
    reset.add_argument("agent_id", metavar="USER")
    reset.set_defaults(run=_agent_reset)

    remove = acts.add_parser("remove", help="no login and no phone of this agent any more")
    remove.add_argument("agent_id", metavar="USER")
    remove.set_defaults(run=_agent_remove)


def _add_key(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    issue = acts.add_parser("add", help="a new access key, shown once")
    issue.add_argument("label")
    issue.add_argument("--tenant", required=True)
    _add_may(issue, *OF_KEYS)
    issue.set_defaults(run=_key_add)

    revoke = acts.add_parser("revoke", help="a key that opens nothing any more, at once")
    revoke.add_argument("prefix", help="of pik_PREFIX_…")
    revoke.set_defaults(run=_key_revoke)


def _add_may(parser: argparse.ArgumentParser, *choices: str) -> None:
    parser.add_argument(
        "--may", action="append", default=[], choices=choices, help="a permission; may be given several times"
    )


def _add_webhook(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    acts.add_parser("list", help="every endpoint").set_defaults(run=_webhook_list)

    add = acts.add_parser("add", help="a new endpoint; its signing key is shown once")
    add.add_argument("url", help="https://…")
    add.add_argument("--tenant", required=True)
    add.set_defaults(run=_webhook_add)

    remove = acts.add_parser("remove", help="an endpoint that hears of nothing any more")
    remove.add_argument("endpoint_id", metavar="ENDPOINT")
    remove.set_defaults(run=_webhook_remove)


def _add_vault_key(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    acts.add_parser("list", help="names, versions, ages, check values").set_defaults(run=_vault_key_list)

    rotate = acts.add_parser("rotate", help="a new version, while calls go on")
    rotate.add_argument("name", help="vault-hmac, or a secret whose new version lies in keys/NAME.next")
    rotate.set_defaults(run=_vault_key_rotate)

    retire = acts.add_parser("retire", help="an old version that nothing needs any more, wiped")
    retire.add_argument("name")
    retire.add_argument("version", type=int)
    retire.set_defaults(run=_vault_key_retire)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--tenant", default="", help="default: for every tenant")
    one.add_argument("--language", required=True, choices=tuple(languages()))
    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("--tenant", default="", help="as its callers hear them; default: the house's")
    some.add_argument("--language", choices=tuple(languages()), help="default: all")

    check = acts.add_parser("check", parents=[some], help="speakable, not too long, no key heard, recorded")
    check.set_defaults(run=_prompts_check)

    render = acts.add_parser("render", parents=[some], help="WAV files and a page to listen to them")
    render.add_argument("--out", type=Path, required=True, metavar="DIR")
    render.set_defaults(run=_prompts_render)

    script = acts.add_parser("script", parents=[one], help="what a speaker has to read, file by file")
    script.set_defaults(run=_prompts_script)

    take = acts.add_parser("import", parents=[one], help="a folder of WAV files, all or none")
    take.add_argument("folder", type=Path, metavar="FOLDER")
    take.set_defaults(run=_prompts_import)

    remove = acts.add_parser("remove", parents=[one], help="recordings that are said no more")
    remove.add_argument("names", nargs="*", metavar="NAME", help="as in script, without .wav; default: all")
    remove.set_defaults(run=_prompts_remove)


def _add_reconcile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", default="", help="default: every tenant")
    parser.add_argument("--since", default="", metavar="DAY", help="default: the first day that is open")
    parser.add_argument("--until", default="", metavar="DAY", help="default: today")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every item here")
    parser.add_argument("--explain", default="", metavar="ITEM", help="accept a difference; on record")
    parser.add_argument("--reason", default="", metavar="WORD", help="why, with --explain and --tenant")
    parser.set_defaults(run=_reconcile)


def _serve(options: argparse.Namespace) -> int:
    from pay_ivr.node import serve

    return serve(load_settings(), options.log_file)


def _app(_options: argparse.Namespace) -> int:
    from pay_ivr.app import run_app

    run_app(load_settings())
    return OK


def _demo(options: argparse.Namespace) -> int:
    from pay_ivr.proof.demo import run_demo

    return run_demo(options.out)


def _verify_leak(options: argparse.Namespace) -> int:
    from pay_ivr.proof.leak import run_leak

    return run_leak(runs=options.runs, json_file=options.json)


def _verify_charges(options: argparse.Namespace) -> int:
    from pay_ivr.proof.charges import run_charges

    return run_charges(seeds=options.seeds, seed=options.seed, json_file=options.json)


def _verify_ledger(options: argparse.Namespace) -> int:
    from pay_ivr.proof.ledger import run_ledger

    sizes = {"clients": options.clients, "seconds": options.seconds}
    return run_ledger(**sizes, postgres=options.postgres, json_file=options.json)


def _verify_pins(options: argparse.Namespace) -> int:
    from pay_ivr.proof.pins import run_pins

    return run_pins(guesses=options.guesses, seed=options.seed, json_file=options.json)


def _check(_options: argparse.Namespace) -> int:
    from pay_ivr.checkup import check

    return check(load_settings())


def _reconcile(options: argparse.Namespace) -> int:
    from pay_ivr.reconciliation import Wanted, reconcile

    days = (options.tenant, options.since, options.until)
    wanted = Wanted(*days, options.json, options.csv, options.explain, options.reason)
    return reconcile(load_settings(), wanted)


def _prompts_check(options: argparse.Namespace) -> int:
    from pay_ivr import prompts

    return prompts.check(load_settings(), options.tenant, _tags(options))


def _prompts_render(options: argparse.Namespace) -> int:
    from pay_ivr import prompts

    return prompts.render(load_settings(), options.tenant, _tags(options), options.out)


def _prompts_script(options: argparse.Namespace) -> int:
    from pay_ivr import prompts

    return prompts.show_script(load_settings(), options.tenant, options.language)


def _prompts_import(options: argparse.Namespace) -> int:
    from pay_ivr import prompts

    return prompts.import_folder(load_settings(), options.tenant, options.language, options.folder)


def _prompts_remove(options: argparse.Namespace) -> int:
    from pay_ivr import prompts

    return prompts.remove(load_settings(), options.tenant, options.language, options.names)


def _tags(options: argparse.Namespace) -> tuple[str, ...]:
    return (options.language,) if options.language else tuple(languages())


def _agent_add(options: argparse.Namespace) -> int:
    from pay_ivr.node import add_agent

    who = (options.agent_id, options.tenant, options.language)
    _show_once(asyncio.run(add_agent(load_settings(), *who, _may(options))))
    return OK


def _agent_allow(options: argparse.Namespace) -> int:
    from pay_ivr.node import allow_agent

    asyncio.run(allow_agent(load_settings(), options.agent_id, _may(options)))
    may = " and ".join(sorted(set(options.may)))
    print(f"agent {options.agent_id}: {f'may {may}' if may else 'has no permission over'} payments of others")
    return OK


def _may(options: argparse.Namespace) -> "frozenset[Permission]":
    from pay_ivr.people import Permission

    return frozenset(map(Permission, options.may))


def _agent_reset(options: argparse.Namespace) -> int:
    from pay_ivr.node import reset_agent_passwords

    _show_once(asyncio.run(reset_agent_passwords(load_settings(), options.agent_id)))
    return OK


def _agent_remove(options: argparse.Namespace) -> int:
    from pay_ivr.node import remove_agent

    asyncio.run(remove_agent(load_settings(), options.agent_id))
    print(f"agent {options.agent_id} is removed; his logins have ended and his phone cannot register again")
    print("A registration of his phone runs out by itself. Take the name out of the tenant file as well.")
    return OK


def _show_once(login: "NewAgentLogin") -> None:
    print(
        f"agent {login.agent_id}: one-time password {login.password}  phone password {login.phone_password}"
    )
    print("Both are shown once. The console asks for a new password at the first login.")


def _key_add(options: argparse.Namespace) -> int:
    from pay_ivr.node import add_access_key

    secret = asyncio.run(add_access_key(load_settings(), options.tenant, options.label, _may(options)))
    print(f"access key {options.label}: {secret}  (shown once)")
    return OK


def _key_revoke(options: argparse.Namespace) -> int:
    from pay_ivr.node import revoke_access_key

    asyncio.run(revoke_access_key(load_settings(), options.prefix))
    print(f"access key {options.prefix} is revoked")
    return OK


def _webhook_list(_options: argparse.Namespace) -> int:
    from pay_ivr.node import list_endpoints

    for one in asyncio.run(list_endpoints(load_settings())):
        print(f"{one.endpoint_id}  {one.tenant:20} {one.url}")
    return OK


def _webhook_add(options: argparse.Namespace) -> int:
    from pay_ivr.node import add_endpoint

    endpoint_id, key = asyncio.run(add_endpoint(load_settings(), options.tenant, options.url))
    print(f"webhook {endpoint_id}: signing key {key}  (shown once)")
    return OK


def _webhook_remove(options: argparse.Namespace) -> int:
    from pay_ivr.node import remove_endpoint

    gone = asyncio.run(remove_endpoint(load_settings(), options.endpoint_id))
    print(f"webhook {gone.endpoint_id} of {gone.tenant} is removed; what waited for it is dropped")
    return OK


def _vault_key_list(_options: argparse.Namespace) -> int:
    from pay_ivr.node import vault_keys

    for line in asyncio.run(vault_keys(load_settings())):
        mark = "newest" if line.newest else "older"
        uses = f"{line.uses} rows" if line.uses else ""
        print(f"{line.name:40} {line.version:3} {mark:6} {line.since:24} {line.check} {uses}".rstrip())
    return OK


def _vault_key_rotate(options: argparse.Namespace) -> int:
    from pay_ivr.node import rotate_vault_key

    version = asyncio.run(rotate_vault_key(load_settings(), options.name))
    print(f"{options.name}: version {version} is the newest; older ones stay valid until they are retired")
    return OK


def _vault_key_retire(options: argparse.Namespace) -> int:
    from pay_ivr.node import retire_vault_key

    asyncio.run(retire_vault_key(load_settings(), options.name, options.version))
    print(f"{options.name}: version {options.version} is wiped")
    return OK


if __name__ == "__main__":
    sys.exit(main())
