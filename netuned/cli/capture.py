"""``netunedctl capture``: writes a profile that says what a card is set to now."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

from netuned.bus import wire
from netuned.cli.arguments import add_snapshot, card_name, nic_named
from netuned.cli.text import print_json
from netuned.errors import NetunedError
from netuned.text import escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nic", metavar="NIC", type=card_name, help="the card")
    parser.add_argument(
        "--all", action="store_true", help="say also what is as the kernel has it by default"
    )
    parser.add_argument(
        "--key", action="store_true", help="say the hash key, too, which root alone may know"
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
    if arguments.key and os.geteuid() != 0:
        raise NetunedError("--key: the hash key is told to root alone")
    captured = capture(kernel, host, nic, whole=arguments.all, secrets=arguments.key)
    left = [replace(one, key=escape(one.key), why=escape(one.why)) for one in captured.left]
    if arguments.json:
        shown = [{"tunable": one.tunable, "key": one.key, "reason": one.why} for one in left]
        print_json({"profile": captured.profile, "left_out": shown})
        return 0
    print(f"# What {escape(wire.text(nic.name))} was set to, as `netunedctl capture` found it.")
    print(captured.text(), end="")
    for one in left:
        print(f"# left out: {one.what}: {one.why}")
        print(f"netunedctl: left out: {one.what}: {one.why}", file=sys.stderr)
    return 0
