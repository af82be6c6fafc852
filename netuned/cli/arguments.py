"""Arguments that commands have in common: which host, whose profiles, and words that name cards."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from netuned.bus import wire
from netuned.errors import NetunedError
from netuned.text import no_such

if TYPE_CHECKING:
    import argparse

    from netuned.hardware.nic import Nic

DIRECTORIES = "--profiles"
IN_HERE = "with the profiles in here, without the daemon (may be given several times)"


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--snapshot",
        metavar="FILE",
        help="of the host of a snapshot or a described machine, without the daemon",
    )


def add_profiles(parser: argparse.ArgumentParser, help: str = IN_HERE) -> None:
    parser.add_argument(DIRECTORIES, metavar="DIR", action="append", default=[], help=help)


def card_name(argument: str) -> str:
    """The name of a card on the command line as D-Bus shows it, whatever the locale's encoding."""
    return wire.text(os.fsencode(argument).decode("utf-8", "surrogateescape"))


def duration_s(argument: str) -> int:
    """A time on the command line, like ``10s``, in seconds."""
    from netuned.profiles.timeout import parse_timeout_s

    if not (seconds := parse_timeout_s(argument)):
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(f"{argument!r} is not a time like 10s or 1min, up to 1h")
    return seconds


def own_name(name: str, cards: Mapping[str, Collection[str]]) -> str:
    """The name of the card that is meant by it or by one of its alternative names.

    ``cards`` has these by the cards' names. Raises: NetunedError naming the cards there are.
    """
    if name in cards:
        return name
    for own, altnames in cards.items():
        if name in altnames:
            return own
    raise NetunedError(no_such("card", name, cards))


def nic_named(name: str, nics: Iterable[Nic]) -> Nic:
    """The card of this host that is meant by a name. Raises: as ``own_name``."""
    by_name = {wire.text(nic.name): nic for nic in nics}
    known = {own: tuple(map(wire.text, nic.altnames)) for own, nic in by_name.items()}
    return by_name[own_name(name, known)]
