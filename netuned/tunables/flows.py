"""The host's table of receive flow steering, which all cards with flow tables share.

It is as large as the largest that a card in force asks for. Linux has it in the first network
namespace only.

Source: Documentation/networking/scaling.rst, "RFS Configuration"; rps_sock_flow_sysctl().
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from netuned.errors import UnsupportedError
from netuned.hardware.nic import Nic
from netuned.tunables.base import Tunable, View, Watched, Writers
from netuned.tunables.rfs import HOST_FILE, NAME, parse
from netuned.values import FlowTable, State


def read(view: View) -> State:
    if not view.kernel.files.exists(HOST_FILE):
        raise UnsupportedError(NAME, "Linux has it in the first network namespace only")
    return {"": parse(view.kernel.files.read(HOST_FILE))}


def write(view: View, found: State, values: State) -> None:
    value = values[""]
    assert isinstance(value, FlowTable)
    view.kernel.files.write(HOST_FILE, str(value.entries).encode())


def watched(nic: Nic) -> Iterator[Watched]:
    yield os.path.dirname(HOST_FILE), os.path.basename(HOST_FILE)


FLOWS = Tunable(
    name=NAME,
    holds=(FlowTable,),
    read=read,
    write=write,
    watched=watched,
    writers=Writers(files=lambda nic, key: (HOST_FILE.removeprefix("/proc/sys/"),)),
)
