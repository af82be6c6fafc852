"""``netunedctl reload``: reads the profiles again and brings them into force."""

from __future__ import annotations

import argparse
import sys

from netuned.bus.client import Client
from netuned.text import escape


def add_arguments(_: argparse.ArgumentParser) -> None:
    pass


def run(_: argparse.Namespace) -> int:
    with Client() as client:
        client.reload()
        manager = client.status().manager
    for error in manager.profile_errors:
        print(f"netunedctl: {escape(error)}", file=sys.stderr)
    in_force = sum(bool(profile.cards) for profile in manager.profiles)
    print(f"{len(manager.profiles)} profiles loaded, {in_force} in force on a card.")
    return 1 if manager.profile_errors else 0
