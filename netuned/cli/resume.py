"""``netunedctl resume``: netuned manages a paused card again."""

from __future__ import annotations

import argparse

from netuned.bus.client import Client
from netuned.cli.arguments import card_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="only this card"
    )


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        client.resume(arguments.nic)
    return 0
