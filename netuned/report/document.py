"""Documents of HTML that need nothing else: their templates, their one style, what escapes text.

Whatever comes from outside goes through the templates' escaping, or is text of a drawing's
elements. A document's own policy lets it load nothing, and run no script but the one it has.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from netuned import __version__
from netuned.plan import Change, merged
from netuned.text import counted, escape
from netuned.values import describe

TEMPLATES = Path(__file__).with_name("templates")
PIECE = 64
"""So many pieces of a template's text are given together."""


def written(template: str, at: float, *, script: str = "", **values: object) -> Iterator[str]:
    """The document in pieces, as they come. ``at`` is its time, in seconds since 1970.

    ``script`` is the name of the template that it runs.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(counted=counted, changes=_changes, digest=_digest)
    stream = environment.get_template(template).stream(
        **values,
        when=shown_time(at),
        version=__version__,
        style=_short("page.css"),
        script=_short(script) if script else "",
    )
    stream.enable_buffering(PIECE)
    return stream


def _short(template: str) -> Markup:
    return Markup(re.sub(r"\s*\n\s*", "\n", (TEMPLATES / template).read_text("utf-8")))


def _shown(value: object) -> object:
    """What is not to be seen in a text from outside, by its number."""
    return escape(value) if type(value) is str else value


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def shown_time(at: float) -> str:
    """A time of seconds since 1970, as people here write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))


def _changes(changes: Iterable[Change]) -> Iterator[tuple[str, ...]]:
    """The rows of a plan: queues with the same change in one."""
    for change in merged(changes):
        yield (
            change.ifname or "host",
            f"{change.tunable} {change.key}".rstrip(),
            describe(change.before) or "to come",
            describe(change.after),
            "yes" if change.disruptive else "no",
            change.why,
        )
