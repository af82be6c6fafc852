"""``netunedctl rollback``: undoes at once what was applied with ``--confirm``."""

from __future__ import annotations

import argparse

from netuned.bus.client import Client
from netuned.cli.text import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", nargs="?", default="", help="only this; else all that waits"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        client.roll_back(arguments.id)
        left = client.status().manager.pending_confirm
    if arguments.json:
        print_json({"pending_confirm": left})
    return 0
