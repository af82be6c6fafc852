"""``netunedctl enable``: brings a profile into force on cards, by a file that says so."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.cli import dropping
from netuned.cli.apply import timeout_s
from netuned.cli.plan import as_json
from netuned.cli.text import Screen, card_name, own_name, print_json
from netuned.errors import NetunedError

if TYPE_CHECKING:
    from netuned.hardware.host import Host
    from netuned.hardware.nic import Nic
    from netuned.profiles.loader import LoadedProfile

PREFIX = "enable-"
HOW = "`--confirm 60s` undoes it by itself if it cuts you off."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", metavar="PROFILE", help="the profile")
    parser.add_argument("nics", metavar="NIC", nargs="+", type=card_name, help="the cards")
    parser.add_argument(
        "--confirm",
        metavar="TIME",
        type=timeout_s,
        default=0,
        help="undo it after this time, like 60s, unless `netunedctl confirm` comes; does not ask",
    )
    dropping.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; does not ask")


def run(arguments: argparse.Namespace) -> int:
    from netuned.hardware.host import read_host
    from netuned.kernel import Kernel

    directories = arguments.profiles
    host = read_host(Kernel())
    nics = {wire.text(nic.name): nic for nic in host.nics.values()}
    known = {own: tuple(map(wire.text, nic.altnames)) for own, nic in nics.items()}
    chosen = {own: nics[own] for own in (own_name(name, known) for name in arguments.nics)}
    texts = _texts(host, arguments.profile, chosen, directories)
    answer = dropping.planned({p: text.encode() for p, text in texts.items()}, directories)
    screen = Screen.of_stdout()
    confirm, quiet = arguments.confirm, arguments.json
    if not quiet:
        for path, text in texts.items():
            print(dropping.show_file(path, text))
        print(dropping.show_plan(answer, [*chosen], screen, tried=bool(confirm), how=HOW), end="")
    question = f"Bring {arguments.profile} into force on {', '.join(chosen)}?"
    if not dropping.agreed(question, yes=arguments.yes or quiet or bool(confirm)):
        print("Nothing was written.")
        return 1
    trials, absent = _enable(texts, [*chosen], confirm)
    if quiet:
        pending = [{"nic": nic, "id": id, "until": until} for nic, id, until in trials]
        plan = as_json(answer.of([*chosen]).plan)
        print_json({"written": [*texts], "confirm": pending, "plan": plan, "absent": absent})
        return 0
    for nic, id, until in trials:
        said = f"{nic}: undone at {until}, unless confirmed: netunedctl confirm {id}"
        print(screen.sentence(said), end="")
    undo = f"To undo it: netunedctl disable {' '.join(chosen)}"
    print(
        screen.sentence(absent or ("" if trials else "In force.")) + screen.sentence(undo), end=""
    )
    return 0


def path_of(nic: str, directories: Sequence[str]) -> str:
    """The file by which a profile is enabled on a card, whatever its name has in it."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else f"_{ord(c):x}" for c in nic)
    return f"{dropping.first(directories)}/{PREFIX}{stem}.yaml"


def _enable(
    texts: Mapping[str, str], names: Sequence[str], confirm: int
) -> tuple[list[tuple[str, str, str]], str]:
    """Write the files and have them in force, or tried: card, ID and end of each trial.

    Raises: NetunedError; then the files are as they were.
    """
    trials: list[tuple[str, str, str]] = []
    if not confirm:
        with dropping.written(texts):
            return trials, dropping.reload()
    with Client() as client:
        for name in names:
            client.pause(name)
        try:
            with dropping.written(texts):
                client.reload()
                for name in names:
                    trials.append((name, *client.begin_trial(name, confirm)))
        except NetunedError:
            for _, id, _ in trials:
                client.roll_back(id)
            client.reload()
            for name in names:
                client.resume(name)
            raise
    return trials, ""


def _texts(
    host: Host, profile: str, nics: Mapping[str, Nic], directories: Sequence[str]
) -> dict[str, str]:
    """A file for each card: path -> text; with a priority where another profile would win.

    Raises: NetunedError.
    """
    from netuned.planning.planner import plan_host
    from netuned.snapshots import offline

    paths = {path_of(name, directories): nic for name, nic in nics.items()}
    texts = {path: _text(profile, nic) for path, nic in paths.items()}
    plain = {path: text.encode() for path, text in texts.items()}
    loaded = offline.load_texts(plain, None, directories)[1].profiles.profiles
    own = {one.path: one.profile.priority for one in loaded if one.path in texts}
    others = plan_host([one for one in loaded if one.path not in texts], host).profiles
    for path, nic in paths.items():
        winner = others.get(nic.ifindex)
        if winner and winner.profile.priority >= own.get(path, winner.profile.priority + 1):
            texts[path] = _text(profile, nic, winner)
    return texts


def _text(profile: str, nic: Nic, winner: LoadedProfile | None = None) -> str:
    """The file's; its priority is above that of a profile that would win."""
    from netuned.profiles.yamlwriting import dump
    from netuned.snapshots.capturing import selecting

    content: dict[str, object] = {"extends": [profile], "match": [selecting(nic)]}
    head = "# Written by `netunedctl enable`, taken away by `netunedctl disable`.\n"
    if winner:
        head += f"# Its priority is above that of {winner.path}, which matches the card, too.\n"
        content["priority"] = winner.profile.priority + 1
    return head + dump(content)
