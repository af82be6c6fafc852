"""``netunedctl confirm``: keeps what was applied with ``--confirm``."""

from __future__ import annotations

import argparse

from netuned.bus.client import Client
from netuned.cli.text import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `apply --confirm` or `status` showed it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        client.confirm(arguments.id)
    if arguments.json:
        print_json({"confirmed": arguments.id})
    return 0
