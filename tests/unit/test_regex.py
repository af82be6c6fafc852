"""Regular expressions that are compiled late: each is one."""

import copy
import gc
import importlib
import pkgutil
import re

import netuned
from netuned.regex import regex

MODULES = [
    each.name
    for each in pkgutil.walk_packages(netuned.__path__, "netuned.")
    if not each.name.endswith("__main__")
]


def test_each_of_all_modules_compiles() -> None:
    for name in MODULES:
        importlib.import_module(name)
    texts = [each.pattern for each in gc.get_objects() if type(each) is regex]
    assert len(texts) > 80


def test_it_is_as_one_that_is_compiled_at_once() -> None:
    late, early = regex(r"([a-z]+)-(\d+)", re.IGNORECASE), re.compile(r"([a-z]+)-(\d+)", re.I)
    assert late.fullmatch("TX-3") is not None
    assert late.sub("x", "a tx-3") == early.sub("x", "a tx-3")
    assert (late.pattern, late.flags, late.groups) == (early.pattern, early.flags, early.groups)
    assert not hasattr(late, "matches")
    assert copy.copy(late).pattern == late.pattern
