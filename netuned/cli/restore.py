"""``netunedctl restore``: puts back what was there before netuned, and has it left alone."""

from __future__ import annotations

import argparse

from netuned.bus.client import Client
from netuned.cli.text import card_name, print_json
from netuned.status import SettingStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "nic", metavar="NIC", nargs="?", default="", type=card_name, help="only this card"
    )
    parser.add_argument(
        "tunable", metavar="TUNABLE", nargs="?", default="", help="only this setting, like rps"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        client.restore(arguments.nic, arguments.tunable)
        nics = client.status().nics
    if arguments.json:
        states = [
            {"name": nic.name, "state": nic.state, "settings": _states(nic.settings)}
            for nic in nics
            if arguments.nic in ("", nic.name)
        ]
        print_json({"cards": states})
    return 0


def _states(settings: tuple[SettingStatus, ...]) -> dict[str, str]:
    return {setting.tunable: setting.state for setting in settings}
