"""Markdown, as the pages in docs/ are written, as a manual page.

A table is a list, the first column its tags, for the others do not fit 80 columns side by side.

Source: man(7), mandoc(1) "STYLE"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

WIDTH = 78
"""What mandoc takes of an input line without a word is 80 bytes."""

_ESCAPED = {"\\": "\\e", "-": "\\-", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def sections(markdown: str, first: str) -> list[str]:
    """The lines of a page: ``##`` is a section, ``###`` one below it.

    What stands before the first section is in one called ``first``; the title is left out.
    """
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [f".SH {first}", *without_empty(_blocks(tokens))]


def text(plain: str) -> str:
    """Text that means nothing to roff, in a line of its own or within one."""
    escaped = re.sub(r"[\\^~`]", lambda found: _ESCAPED[found[0]], plain)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def filled(words: str) -> list[str]:
    """A paragraph's input lines."""
    lines = [""]
    for word in words.split():
        if lines[-1] and _size(f"{lines[-1]} {word}") > WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in lines]


def _size(line: str) -> int:
    """Of an input line as mandoc counts it: what is not ASCII it reads as ``\\[u2026]``."""
    return sum(1 if character.isascii() else len("\\[u2026]") for character in line)


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    row: list[str] | None = None
    heads: list[str] = []
    item = False
    tag = ""
    for token in tokens:
        kind = token.type
        if kind == "heading_open":
            tag = token.tag
        elif kind == "heading_close":
            tag = ""
        elif kind == "list_item_open":
            yield ".IP \\(bu 2"
            item = True
        elif kind in ("bullet_list_close", "ordered_list_close", "table_close"):
            yield ".PP"
        elif kind in ("fence", "code_block"):
            yield from (".PP", ".RS 4", ".EX", *_verbatim(token.content), ".EE", ".RE", ".PP")
        elif kind == "table_open":
            heads = []
        elif kind == "tr_open":
            row = []
        elif kind == "tr_close":
            assert row is not None
            if heads:
                yield from _row(heads, row)
            heads, row = heads or row, None
        elif kind == "inline":
            words = _inline(token.children or ())
            if row is not None:
                row.append(words)
            elif tag:
                yield from _heading(tag, words)
            else:
                yield from ([] if item else [".PP"])
                yield from filled(words)
                item = False


def _heading(tag: str, words: str) -> Iterator[str]:
    plain = words.replace("\\fB", "").replace("\\fR", "")
    if tag == "h2":
        yield f".SH {plain.upper()}"
    elif tag != "h1":
        yield from (".SS", *filled(plain)[:1]) if len(plain) > WIDTH - 4 else (f".SS {plain}",)


def _row(heads: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    """A row of a table: its first cell, then the others with the names of their columns."""
    first, *rest = row
    named = [(head, cell) for head, cell in zip(heads[1:], rest, strict=False) if cell]
    said = "; ".join(f"{head}: {cell}" if head and len(rest) > 1 else cell for head, cell in named)
    yield from (".TP", *filled(first or "\\&")[:1])
    yield from filled(said or "\\&")


def _inline(children: Sequence[Token]) -> str:
    words = ""
    for child in children:
        if child.type == "code_inline":
            words += f"\\fB{text(child.content).replace('-', _ESCAPED['-'])}\\fR"
        elif child.type == "strong_open":
            words += "\\fB"
        elif child.type == "em_open":
            words += "\\fI"
        elif child.type in ("strong_close", "em_close"):
            words += "\\fR"
        elif child.type in ("softbreak", "hardbreak"):
            words += " "
        else:
            words += text(child.content) if words == "" else text(child.content).removeprefix("\\&")
    return words


def _verbatim(code: str) -> Iterator[str]:
    """Lines as they are; one that is longer than what mandoc likes goes on in the next."""
    for line in code.rstrip("\n").split("\n"):
        escaped = text(line).replace("-", _ESCAPED["-"])
        while _size(escaped) > WIDTH:
            at = escaped.rfind(" ", 0, WIDTH // 2) + 1 or WIDTH // 2
            yield escaped[:at] + "\\c"
            escaped = escaped[at:]
        yield escaped or "\\&"


def without_empty(lines: Iterator[str]) -> Iterator[str]:
    """Without a paragraph's macro that begins no paragraph, or one that has begun."""
    begun, held, before = True, False, ""
    for line in lines:
        if line == ".PP":
            held = not begun
            continue
        heading = line.startswith((".SH", ".SS")) or before in (".SH", ".SS")
        if held and not line.startswith((".SH", ".SS", ".TP", ".IP", ".RE")):
            yield ".PP"
        begun, held, before = heading, held and line == ".RE", line
        yield line
