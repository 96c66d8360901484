"""What an operator says of the loyalty programmes: `pay-ivr voucher | loyalty | member | loyalty-key`.

What a command does is imported when it runs: no other command loads the loyalty database.
"""

import argparse
import sys
from datetime import date
from pathlib import Path

from pay_ivr.settings import load_settings

USAGE = 2
"""Exit code of a command that makes no sense as it was given."""
BESIDE = (
    "Works while the node runs and while it does not. A running node goes on: both write for milliseconds at "
    "a time and wait for each other."
)


def add_voucher(parser: argparse.ArgumentParser) -> None:
    """`voucher`: the stock of codes."""
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    take = acts.add_parser("import", help="take codes in, one a line; all lines or none")
    take.add_argument("file", type=Path)
    take.add_argument("--tenant", required=True)
    take.add_argument("--reward", required=True, help="its id in the tenant's file")
    take.set_defaults(run=_voucher_import)

    stock = acts.add_parser("stock", help="how many codes are free")
    stock.add_argument("--tenant", required=True)
    stock.set_defaults(run=_voucher_stock)


def add_loyalty(parser: argparse.ArgumentParser) -> None:
    """`loyalty`: points, orders, figures."""
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    earn = acts.add_parser("earn", help="points for a purchase; once per receipt")
    earn.add_argument("member", help="number, card or mem_…")
    earn.add_argument("points", type=int)
    earn.add_argument("--tenant", required=True)
    earn.add_argument("--receipt", required=True, help="the till's own number of the purchase")
    earn.set_defaults(run=_loyalty_earn)

    orders = acts.add_parser("orders", help="orders whose shop the tenant's file names no more")
    orders.add_argument("--tenant", required=True)
    orders.set_defaults(run=_loyalty_orders)

    end = acts.add_parser("end-order", help="end such an order as its shop says")
    end.add_argument("redemption", metavar="RED_…")
    end.add_argument("--tenant", required=True)
    end.add_argument("--reason", required=True, help="a word for the log, like shop_left")
    result = end.add_mutually_exclusive_group(required=True)
    result.add_argument("--issued", action="store_true", help="with the code on standard input")
    result.add_argument("--never-issued", action="store_true", help="the points are free again")
    end.set_defaults(run=_loyalty_end_order)

    months = acts.add_parser("roll-forward", help="how a month's liability moved, and who took part")
    months.add_argument("month", metavar="YYYY-MM", type=_month)
    months.add_argument("--tenant", required=True)
    months.set_defaults(run=_loyalty_roll_forward)


def _month(text: str) -> date:
    return date.fromisoformat(f"{text}-01")


def add_member(parser: argparse.ArgumentParser) -> None:
    """`member`: people, one by one and by file."""
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    bring = acts.add_parser(
        "import", help="take a CSV file in; bad lines are named, good ones land", description=BESIDE
    )
    bring.add_argument(
        "file", type=Path, metavar="FILE", help="UTF-8, with a header; the same again is quiet"
    )
    bring.set_defaults(run=_member_import)

    give = acts.add_parser("export", help="every member that is not closed, as CSV", description=BESIDE)
    give.add_argument("file", type=Path, metavar="FILE", help="made new, readable by you alone")
    give.set_defaults(run=_member_export)

    show = acts.add_parser("show", help="ids, states and points of one member; no personal data")
    show.set_defaults(run=_member_show)

    person = acts.add_parser("gdpr-export", help="all that is stored of one member, as JSON and as text")
    person.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    person.set_defaults(run=_member_gdpr_export)

    close = acts.add_parser("close", help="end a membership: found by nothing, kept for the legal period")
    close.set_defaults(run=_member_close)

    erase = acts.add_parser("erase", help="the person is gone, the books stay", description=BESIDE)
    erase.add_argument("--closed-before", type=date.fromisoformat, metavar="DAY", help="all closed before it")
    erase.add_argument("--yes", action="store_true", help="it cannot be undone")
    erase.add_argument("--vacuum", action="store_true", help="write the file anew; keeps all writers waiting")
    erase.set_defaults(run=_member_erase)

    for act in (bring, give, show, person, close, erase):
        act.add_argument("--tenant", required=True)
    for act in (show, person, close):
        act.add_argument("member", metavar="MEMBER", help="id, customer number or card number")
    erase.add_argument("member", metavar="MEMBER", nargs="?", default="", help="id or number")


def add_loyalty_key(parser: argparse.ArgumentParser) -> None:
    """`loyalty-key`: the root key of the members' data keys."""
    acts = parser.add_subparsers(required=True, metavar="WHAT")
    acts.add_parser("list", help="versions, check values, rows").set_defaults(run=_loyalty_key_list)

    rotate = acts.add_parser("rotate", help="a new version and every row under it; goes on after a kill")
    rotate.add_argument("--copied", action="store_true", help="the new file is on every other node")
    rotate.set_defaults(run=_loyalty_key_rotate)

    retire = acts.add_parser("retire", help="an old version that no row needs any more, wiped")
    retire.add_argument("version", type=int)
    retire.set_defaults(run=_loyalty_key_retire)


def _voucher_import(options: argparse.Namespace) -> int:
    from loyalty.counter import import_codes

    return import_codes(load_settings(), options.tenant, options.reward, options.file)


def _voucher_stock(options: argparse.Namespace) -> int:
    from loyalty.counter import show_stock

    return show_stock(load_settings(), options.tenant)


def _loyalty_earn(options: argparse.Namespace) -> int:
    from loyalty.counter import earn

    return earn(load_settings(), options.tenant, options.member, options.points, options.receipt)


def _loyalty_orders(options: argparse.Namespace) -> int:
    from loyalty.counter import stranded_orders

    return stranded_orders(load_settings(), options.tenant)


def _loyalty_end_order(options: argparse.Namespace) -> int:
    from loyalty.counter import end_order

    return end_order(
        load_settings(), options.tenant, options.redemption, options.reason, issued=options.issued
    )


def _loyalty_roll_forward(options: argparse.Namespace) -> int:
    from loyalty.counter import roll_forward

    return roll_forward(load_settings(), options.tenant, options.month)


def _member_import(options: argparse.Namespace) -> int:
    from loyalty.commands import import_members

    return import_members(load_settings(), options.tenant, options.file)


def _member_export(options: argparse.Namespace) -> int:
    from loyalty.commands import export_members

    return export_members(load_settings(), options.tenant, options.file)


def _member_show(options: argparse.Namespace) -> int:
    from loyalty.commands import show_member

    return show_member(load_settings(), options.tenant, options.member)


def _member_gdpr_export(options: argparse.Namespace) -> int:
    from loyalty.commands import gdpr_export

    return gdpr_export(load_settings(), options.tenant, options.member, options.out)


def _member_close(options: argparse.Namespace) -> int:
    from loyalty.commands import close_member

    return close_member(load_settings(), options.tenant, options.member)


def _member_erase(options: argparse.Namespace) -> int:
    from loyalty.commands import erase_closed, erase_member

    if bool(options.member) == bool(options.closed_before) or not options.yes:
        sys.stderr.write("pay-ivr: name one MEMBER or --closed-before, and say --yes: it cannot be undone\n")
        return USAGE
    if options.closed_before:
        return erase_closed(load_settings(), options.tenant, options.closed_before)
    return erase_member(load_settings(), options.tenant, options.member, whole=options.vacuum)


def _loyalty_key_list(_options: argparse.Namespace) -> int:
    from loyalty.locksmith import list_keys

    return list_keys(load_settings())


def _loyalty_key_rotate(options: argparse.Namespace) -> int:
    from loyalty.locksmith import rotate_key

    return rotate_key(load_settings(), copied=options.copied)


def _loyalty_key_retire(options: argparse.Namespace) -> int:
    from loyalty.locksmith import retire_key

    return retire_key(load_settings(), options.version)
