"""``netunedctl enable``: brings a profile into force on cards, by a file that says so."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.cli import dropping
from netuned.cli.arguments import DIRECTORIES, card_name, duration_s, nic_named
from netuned.cli.plan import as_json
from netuned.cli.text import Screen, print_json
from netuned.errors import NetunedError
from netuned.text import no_such

if TYPE_CHECKING:
    from netuned.hardware.host import Host
    from netuned.hardware.nic import Nic
    from netuned.profiles.loader import LoadedProfile

PREFIX = "enable-"
HEAD = "# Written by `netunedctl enable`, taken away by `netunedctl disable`.\n"
HOW = "`--confirm 60s` undoes it by itself if it cuts you off."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("profile", metavar="PROFILE", help="the profile")
    parser.add_argument("nics", metavar="NIC", nargs="+", type=card_name, help="the cards")
    parser.add_argument(
        "--confirm",
        metavar="TIME",
        type=duration_s,
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
    nics = [nic_named(name, host.nics.values()) for name in arguments.nics]
    chosen = {wire.text(nic.name): nic for nic in nics}
    texts = _texts(host, arguments.profile, chosen, directories)
    for path in texts:
        check_own(path)
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
    files = {path: text.encode() for path, text in texts.items()}
    trials: list[tuple[str, str, str]] = []
    told: list[str] = []
    good = True
    if confirm:
        trials = _try(files, [*chosen], confirm)
    else:
        with dropping.written(files):
            told, good = dropping.reload([*chosen])
    if quiet:
        pending = [{"nic": nic, "id": id, "until": until} for nic, id, until in trials]
        plan = as_json(answer.of([*chosen]).plan)
        print_json({"written": [*texts], "confirm": pending, "plan": plan, "status": told})
        return 0 if good else 1
    told += [
        f"{nic}: undone at {until}, unless confirmed: netunedctl confirm {id}"
        if id
        else f"{nic}: nothing was changed."
        for nic, id, until in trials
    ]
    words = ["disable", *chosen, *(w for d in directories for w in (DIRECTORIES, d))]
    told.append(f"To undo it: netunedctl {shlex.join(words)}")
    print("".join(map(screen.sentence, told)), end="")
    return 0 if good else 1


def check_own(path: str) -> None:
    """Raises: NetunedError where something is there that `enable` did not write."""
    there = dropping.content(path)
    if there is not None and not there.startswith(HEAD.encode()):
        raise NetunedError(
            f"{path}: was not written by `netunedctl enable`, so it is left alone; move it first"
        )


def path_of(nic: str, directories: Sequence[str]) -> str:
    """The file by which a profile is enabled on a card, whatever its name has in it."""
    stem = "".join(
        c if c.isascii() and (c.isalnum() or c in "-.") else f"_{ord(c):x}_" for c in nic
    )
    return f"{dropping.first(directories)}/{PREFIX}{stem}.yaml"


def _try(
    files: Mapping[str, bytes], names: Sequence[str], confirm: int
) -> list[tuple[str, str, str]]:
    """Write the files, and have them tried: card, ID and end of each trial, without IDs of none.

    Raises: NetunedError; then the files are as they were.
    """
    trials: list[tuple[str, str, str]] = []
    with Client() as client:
        paused = {nic.name for nic in client.status().nics if nic.paused}
        if there := sorted(paused.intersection(names)):
            raise NetunedError(f"{there[0]} is paused; first: netunedctl resume {there[0]}")
        held: list[str] = []
        try:
            for name in names:
                held.append(name)
                client.pause(name)
            with dropping.written(files):
                client.reload()
                for name in names:
                    trials.append((name, *client.begin_trial(name, confirm)))
                    if not trials[-1][1]:
                        client.resume(name)
        except BaseException:
            for _, id, _ in (trial for trial in trials if trial[1]):  # "" would be all that wait
                with contextlib.suppress(NetunedError):
                    client.roll_back(id)
            for name in held:
                with contextlib.suppress(NetunedError):
                    client.resume(name)
            raise
    return trials


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
    drop = offline.load_texts(plain, None, directories)[1]
    loaded = drop.profiles.profiles
    names = [one.profile.name for one in loaded if one.path not in texts]
    if any("there is no profile " in error.problem for error in drop.refused):
        raise NetunedError(no_such("profile", profile, names))
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
    head = HEAD
    if winner:
        head += f"# Its priority is above that of {winner.path}, which matches the card, too.\n"
        content["priority"] = winner.profile.priority + 1
    return head + dump(content)
