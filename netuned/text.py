"""Text from outside made safe to show: interface names are bytes, drivers send what they like."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from netuned.regex import regex

_BLANK = regex(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Letters, marks and signs of which nothing is to be seen (of Default_Ignorable_Code_Point, and the
empty braille pattern): two names that look the same could differ by them."""


HASH_KEY = regex(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){23,255}", re.ASCII)
"""An RSS hash key, as ``ethtool -x`` shows it."""
_LIKE_A_KEY = regex(r"[0-9A-Fa-f]{2}([:\s.-]+[0-9A-Fa-f]{2}){23,255}", re.ASCII)


def without_keys(text: str) -> str:
    """The text without hash keys, those with a mistake in their colons too.

    Whoever reads the errors of profiles is not to know one.
    """
    return _LIKE_A_KEY.sub("a hash key", text)


def escape(text: str) -> str:
    """Show what is not to be seen, or steers what is, as ``\\xNN``, ``\\uNNNN``, ``\\UNNNNNNNN``.

    That is all of Unicode's categories of control, format, surrogate, private and unassigned
    characters, of separators (lines, paragraphs, spaces but the plain one), and blank letters.
    """
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text
    return "".join(
        one if one.isprintable() and not _BLANK.match(one) else _escaped(one) for one in text
    )


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # PEP 383: a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 queue``, ``2 queues``; ``plural`` where it is no ``s`` more."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """The word most like another, whatever the case of that; empty where none is so like it."""
    import difflib  # 0.2 MB, for mistakes alone

    found = difflib.get_close_matches(word[:60].lower(), words, n=1, cutoff=cutoff)
    return found[0] if found else ""


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """``did you mean `x`?`` when one of ``words`` is near, else nothing."""
    if not isinstance(word, str):
        return ""
    known = {candidate.lower(): candidate for candidate in words}
    near = nearest(word, known, cutoff=0.7)
    return f"did you mean `{known[near]}`?" if near else ""


SHOWS = {"command": "netunedctl --help"}
"""What shows all of a kind, wherever they are: cards may be those of a snapshot."""
NONE = {"profile": "none; `netunedctl edit NAME` writes one"}
NAMED_MOST = 8


def no_such(kind: str, name: str, names: Collection[str]) -> str:
    """That there is none of a name; which is meant perhaps, which there are or what shows them."""
    hint = did_you_mean(name, names)
    there = ", ".join([*names][:NAMED_MOST]) or NONE.get(kind, "none")
    if len(names) > NAMED_MOST and kind in SHOWS:
        there = f"{len(names)}, which `{SHOWS[kind]}` shows"
    elif len(names) > NAMED_MOST:
        there += f" and {len(names) - NAMED_MOST} more"
    return f"there is no {kind} named {name}; {f'{hint} ' if hint else ''}there are: {there}"
