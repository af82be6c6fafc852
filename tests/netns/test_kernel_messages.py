"""The tables of messages against what this kernel says of its own: GETPOLICY, and its answers."""

from __future__ import annotations

import sys
import warnings

import pytest

from netuned.errors import UnsupportedError
from netuned.kernel.genl import NETLINK_GENERIC, resolve_family
from netuned.kernel.messages import ETHTOOL, HEADER, MESSAGES, Message
from netuned.kernel.netlink import NLM_F_DUMP, NetlinkSocket, attributes
from netuned.kernel.tables import GENERIC_HEADER, Table, Type, frame
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

GENL_ID_CTRL = 16
GETPOLICY = 10
REQUEST = Table(("family-name", 2, Type.NUL_STRING), ("op", 10, Type.U32))
POLICY, OP_POLICY = 8, 9
POLICY_OF_DO, POLICY_OF_DUMP = 1, 2
ATTRIBUTE_TYPE, NESTED_POLICY = 1, 8

Known = dict[int, tuple[int, int]]
"""Attributes of a policy: number -> its type, and the policy of its nest or -1."""


def nest(data: bytes) -> dict[int, bytes]:
    return {number: data[start:end] for number, (start, end) in attributes(data, 0).items()}


def number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def policies(family: str, command: int) -> tuple[dict[int, Known], dict[int, int]]:
    """The policies of a command by number, and which of them a do and a dump have."""
    content = REQUEST.encode({"family-name": family.encode(), "op": command})
    message = frame(GENL_ID_CTRL, GETPOLICY, NLM_F_DUMP, content)
    found: dict[int, Known] = {}
    starts: dict[int, int] = {}
    for payload in NetlinkSocket(NETLINK_GENERIC).request(message, "list", f"policy of {family}"):
        told = nest(payload[GENERIC_HEADER:])
        for policy, rows in nest(told.get(POLICY, b"")).items():
            for attribute, row in nest(rows).items():
                facts = nest(row)
                below = number(facts[NESTED_POLICY]) if NESTED_POLICY in facts else -1
                kind = number(facts[ATTRIBUTE_TYPE])
                found.setdefault(policy, {})[attribute] = kind, below
        for starting in nest(told.get(OP_POLICY, b"")).values():
            starts |= {way: number(policy) for way, policy in nest(starting).items()}
    return found, starts


def differing(table: Table, known: Known, told: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong in a table; says what this kernel is too old to know."""
    wrong = []
    for name, attribute, kind in table.rows:
        if name in told:
            if attribute in known:
                wrong.append(f"{name} {attribute} is no attribute of answers only")
        elif attribute > max(known):
            warnings.warn(f"this kernel does not know {name} ({attribute})", stacklevel=2)
        elif known.get(attribute, (0, 0))[0] != kind:
            wrong.append(f"{name} {attribute} is {known.get(attribute)}, not {kind!r}")
    return wrong


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{message.family}-{message.get}")
def test_a_table_is_as_the_kernel_has_it(netns: Namespace, message: Message) -> None:
    try:
        resolve_family(NetlinkSocket(NETLINK_GENERIC), message.family)
    except UnsupportedError as error:  # netdev before 6.8
        warnings.warn(str(error), stacklevel=1)
        return
    found, starts = policies(message.family, message.set or message.get)
    if not starts:
        warnings.warn(f"this kernel has no command {message.set or message.get}", stacklevel=1)
        return
    known: Known = {}
    for policy in starts.values():
        known |= found[policy]
    assert differing(message.table, known, message.told) == []
    if message.set and message.family == ETHTOOL:
        assert differing(HEADER, found[known[1][1]]) == []


def test_a_wrong_number_or_type_is_found() -> None:
    known: Known = {1: (Type.NESTED, 1), 2: (Type.U32, -1), 5: (Type.U8, -1)}
    right = Table(("header", 1, Type.NESTED), ("rx", 2, Type.U32), ("push", 5, Type.U8))
    assert differing(right, known) == []
    assert len(differing(Table(("rx", 5, Type.U32), ("push", 2, Type.U8)), known)) == 2
    assert len(differing(Table(("rx", 3, Type.U32)), known)) == 1
    assert len(differing(Table(("rx", 2, Type.U32)), known, frozenset({"rx"}))) == 1
    with pytest.warns(UserWarning, match="does not know rx"):
        assert differing(Table(("rx", 6, Type.U32)), known) == []
