"""Regular expressions that are compiled when they are first used.

Those of the daemon's modules take 6 ms to compile, of which most are of mistakes and of cards that
a host does not have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from re import compile

    regex = compile
else:

    class regex:
        """As ``re.compile``; what is wrong with the text shows at its first use."""

        def __init__(self, text, flags=0):
            self._text, self._flags = text, flags

        def __getattr__(self, name):
            if name.startswith("_"):  # a copy has nothing yet, and is asked for its special methods
                raise AttributeError(name)
            found = getattr(re.compile(self._text, self._flags), name)
            setattr(self, name, found)  # this is not asked for it again
            return found
