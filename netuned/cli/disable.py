"""``netunedctl disable``: takes away what ``enable`` wrote."""

from __future__ import annotations

import argparse
import os

from netuned.cli import dropping
from netuned.cli.enable import path_of
from netuned.cli.text import Screen, card_name, print_json
from netuned.errors import NetunedError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nics", metavar="NIC", nargs="+", type=card_name, help="the cards")
    dropping.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; does not ask")


def run(arguments: argparse.Namespace) -> int:
    directories = arguments.profiles
    paths = {name: path_of(name, directories) for name in arguments.nics}
    for name, path in paths.items():
        if not os.path.lexists(path):
            raise NetunedError(
                f"nothing was enabled on {name} by `netunedctl enable`: there is no {path}; "
                f"`netunedctl explain {name}` tells which file its profile comes from"
            )
    screen = Screen.of_stdout()
    # an empty file masks, which is what its absence comes to
    answer = dropping.planned(dict.fromkeys(paths.values(), b""), directories)
    if not arguments.json:
        print(dropping.show_plan(answer, (), screen), end="")
    if not dropping.agreed(
        f"Take {', '.join(paths.values())} away?", yes=arguments.yes or arguments.json
    ):
        print("Nothing was taken away.")
        return 1
    with dropping.written(dict.fromkeys(paths.values(), None)):
        absent = dropping.reload()
    if arguments.json:
        print_json({"removed": [*paths.values()], "absent": absent})
    else:
        print(screen.sentence(absent or "Put back what was there before."), end="")
    return 0
