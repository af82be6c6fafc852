"""``netunedctl reload``: reads the profiles again and brings them into force."""

from __future__ import annotations

import argparse
import sys

from netuned.bus.client import Client
from netuned.cli.text import print_json
from netuned.text import counted, escape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    with Client() as client:
        client.reload()
        manager = client.status().manager
    if arguments.json:
        from dataclasses import asdict

        print_json(
            {
                "profiles": [asdict(profile) for profile in manager.profiles],
                "profile_errors": manager.profile_errors,
                "problems": manager.problems,
                "pending_confirm": manager.pending_confirm,
            }
        )
    else:
        for error in (*manager.profile_errors, *manager.problems):
            print(f"netunedctl: {escape(error)}", file=sys.stderr)
        in_force = sum(bool(profile.cards) for profile in manager.profiles)
        loaded = counted(len(manager.profiles), "profile")
        print(f"{loaded} loaded, {in_force} in force on a card.")
        if manager.pending_confirm:
            print(f"To be confirmed: {escape(manager.pending_confirm)}")
    return 1 if manager.profile_errors or manager.problems else 0
