"""``netunedctl disable``: takes away what ``enable`` wrote."""

from __future__ import annotations

import argparse
import os
from itertools import chain

from netuned.bus import wire
from netuned.cli import dropping
from netuned.cli.arguments import card_name, own_name
from netuned.cli.enable import check_own, path_of
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.kernel import Kernel
from netuned.text import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nics", metavar="NIC", nargs="+", type=card_name, help="the cards")
    dropping.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; does not ask")


def run(arguments: argparse.Namespace) -> int:
    directories = arguments.profiles
    links = Kernel().rtnl.links().values()
    known = {wire.text(link.name): tuple(map(wire.text, link.altnames)) for link in links}
    names = [
        own_name(n, known) if any(map(n.__eq__, chain(*known.values()))) else n
        for n in arguments.nics
    ]
    paths = {name: path_of(name, directories) for name in names}
    for name, path in paths.items():
        check_own(path)
        if not os.path.lexists(path):
            hint = "" if name in known else did_you_mean(name, known)
            raise NetunedError(
                f"nothing was enabled on {name} by `netunedctl enable`: there is no {path}; "
                f"{f'{hint} ' if hint else ''}"
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
        told, good = dropping.reload([*paths])
    if arguments.json:
        print_json({"removed": [*paths.values()], "status": told})
    else:
        print("".join(map(screen.sentence, told)), end="")
    return 0 if good else 1
