"""``netunedctl capture``: writes a profile that says what a card is set to now."""

from __future__ import annotations

import argparse
import sys

from netuned.bus import wire
from netuned.cli.arguments import add_snapshot, card_name, nic_named
from netuned.cli.text import print_json
from netuned.text import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nic", metavar="NIC", type=card_name, help="the card")
    parser.add_argument(
        "--all", action="store_true", help="say also what is as the kernel has it by default"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_snapshot(parser)


def run(arguments: argparse.Namespace) -> int:
    from netuned.hardware.host import read_host
    from netuned.snapshots import offline
    from netuned.snapshots.capturing import capture

    kernel, _ = offline.load(arguments.snapshot)
    host = read_host(kernel)
    nic = nic_named(arguments.nic, host.nics.values())
    captured = capture(kernel, host, nic, whole=arguments.all)
    left = {tunable: escape(why) for tunable, why in captured.left.items()}
    if arguments.json:
        shown = [{"tunable": tunable, "reason": why} for tunable, why in left.items()]
        print_json({"profile": captured.profile, "left_out": shown})
        return 0
    print(f"# What {escape(wire.text(nic.name))} was set to, as `netunedctl capture` found it.")
    print(captured.text(), end="")
    for tunable, why in left.items():
        print(f"# {tunable}: no profile says the same: {why}")
        print(f"netunedctl: left out: {tunable}: {why}", file=sys.stderr)
    return 0
