"""``netunedctl profiles``: the loaded profiles and the cards they are in force on."""

from __future__ import annotations

import argparse

from netuned.cli import answers
from netuned.cli.text import Screen, print_json
from netuned.status import STARTING, ManagerStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    manager = answers.status(json=arguments.json).manager
    if arguments.json:
        from dataclasses import asdict

        print_json(
            {
                "profiles": [asdict(profile) for profile in manager.profiles],
                "errors": manager.profile_errors,
                "conflicts": manager.conflicts,
            }
        )
    else:
        screen = Screen.of_stdout()
        if manager.state in answers.UNSURE:
            print(screen.sentence(answers.caveat(manager)))
        print(show(manager, screen), end="")
    return 0


def show(manager: ManagerStatus, screen: Screen) -> str:
    """The profiles as a table, what is wrong with others, and how to enable one if none is."""
    header = ("PROFILE", "PRIORITY", "IN FORCE ON", "FILE", "DESCRIPTION")
    rows = [
        (
            (
                profile.name,
                "" if profile.template else str(profile.priority),
                "(template)" if profile.template else ", ".join(profile.cards),
                profile.path,
            ),
            profile.description,
            profile.name,
        )
        for profile in manager.profiles
    ]
    none = "" if manager.state == STARTING else "No profiles are loaded.\n"
    parts = [screen.table_with_notes(header, rows) if rows else none]
    problems = [f"Error: {error}" for error in manager.profile_errors]
    problems += [f"Conflict: {conflict}" for conflict in manager.conflicts]
    parts.append("".join(map(screen.sentence, problems)))
    if manager.state != STARTING and all(profile.template for profile in manager.profiles):
        parts.append(f"No profile is enabled. {answers.HOW_TO_ENABLE}")
    return "\n".join(filter(None, parts))
