"""Virtual links: which of them are read, and what is known of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netuned.hardware.host import read_nics
from netuned.hardware.links import is_as
from netuned.hardware.nic import Nic
from netuned.kernel.linkinfo import LinkInfo
from netuned.kernel.questions import LINKS, Question
from netuned.planning.asked import may_apply
from netuned.planning.matching import match_cards
from netuned.profiles.loader import LoadedProfile
from netuned.profiles.profile import Profile
from tests.unit.writable import WritableKernel

MACHINE = """
cores: 4
cards:
  - {name: en0, driver: ice, queues: 4}
  - {name: en1, driver: ice, queues: 4}
  - {name: bond0, kind: bond, over: [en0, en1]}
  - {name: bond0.7, kind: vlan, over: [bond0]}
  - {name: v0, driver: veth, count: 3, queues: 2}
"""


def profiles(*matches: object) -> tuple[LoadedProfile, ...]:
    made = ({"name": f"p{at}", "match": [match]} for at, match in enumerate(matches))
    return tuple(LoadedProfile(Profile.of(one), "", {}) for one in made)


def read(kernel: WritableKernel, known: dict[int, Nic], *matches: object) -> dict[str, Nic]:
    wanted = profiles(*matches)
    nics = read_nics(kernel, known, lambda nic: may_apply(wanted, nic))
    assert list(nics) == sorted(nics)
    return {nic.name: nic for nic in nics.values()}


@pytest.mark.parametrize(
    ("match", "asked"),
    [
        ({"name": "*"}, ""),
        ({"driver": "ice"}, ""),
        ({"kind": "veth", "name": "v1"}, "v1"),
        ({"driver": "veth", "name": "v[01]"}, "v0 v1"),
        ({"driver": "veth", "speed": ">=10G", "name": "v2"}, "v2"),
        ({"kind": "veth", "numa_node": 0}, ""),
        ({"kind": "vlan", "mac": "66:*"}, ""),
        ({"kind": "bond"}, "bond0"),
        ({"driver": "802*"}, "bond0.7"),
    ],
)
def test_what_a_profile_may_match_is_read_and_no_other(match: object, asked: str) -> None:
    found = read(WritableKernel(MACHINE), {}, match)
    assert set(found) == {"en0", "en1", "bond0", "bond0.7", "v0", "v1", "v2"}
    virtual = found.keys() - {"en0", "en1"}
    assert not found["en0"].unread
    assert {name for name in virtual if not found[name].unread} == set(asked.split())
    whole = {nic.ifindex: nic for nic in read_nics(WritableKernel(MACHINE), {}).values()}
    unread = {nic.ifindex: nic for nic in found.values()}
    wanted = profiles(match)
    assert match_cards(wanted, unread) == match_cards(wanted, whole)


def test_nothing_of_an_unread_card_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = WritableKernel(MACHINE)
    asked: set[str] = set()
    listed, told = kernel.files.listdir, kernel.get

    def listdir(path: str) -> list[str]:
        asked.add(path.removeprefix("/sys/class/net/").partition("/")[0])
        return listed(path)

    def get(question: Question[Any], ifindex: int) -> Any:
        asked.add(kernel.card_name(ifindex))
        return told(question, ifindex)

    monkeypatch.setattr(kernel.files, "listdir", listdir)
    monkeypatch.setattr(kernel, "get", get)
    read(kernel, {}, {"name": "v1", "kind": "veth"})
    assert {"en0", "v1"} < asked
    assert not asked & {"v0", "v2", "bond0", "bond0.7"}


def test_what_lies_below_an_unread_card_is_known() -> None:
    found = read(WritableKernel(MACHINE), {})
    whole = {nic.name: nic for nic in read_nics(WritableKernel(MACHINE), {}).values()}
    assert {name: nic.lowers for name, nic in found.items()} == {
        name: nic.lowers for name, nic in whole.items()
    }


@pytest.mark.parametrize(
    ("name", "kind", "lower"), [("bond0.7", "vxlan", ""), ("v0", "gretap", "en0")]
)
def test_of_other_kinds_sysfs_is_asked_what_lies_below(name: str, kind: str, lower: str) -> None:
    """vxlan does not tell it in the list of links, and gretap tells of one that sysfs has not."""
    kernel = WritableKernel(MACHINE)
    whole = {nic.name: nic for nic in read_nics(WritableKernel(MACHINE), {}).values()}
    links = kernel.answers.cards(LINKS)
    ifindex = whole[name].ifindex
    link = links[ifindex]
    assert isinstance(link, LinkInfo)
    links[ifindex] = replace(link, kind=kind, lower=whole[lower].ifindex if lower else 0)
    found = read(kernel, {})
    assert (found[name].unread, found[name].lowers) == (True, whole[name].lowers)
    assert read(kernel, {nic.ifindex: nic for nic in found.values()})[name] is found[name]


def test_what_lies_below_is_asked_again_only_where_it_can_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entry tells by itself when the link is bound to another card; of ports it does not."""
    kernel = WritableKernel(MACHINE)
    links = kernel.answers.cards(LINKS)
    ifindexes = {nic.name: nic.ifindex for nic in read_nics(kernel, {}).values()}
    bond, vlan, v0, v1, v2 = (ifindexes[n] for n in ("bond0", "bond0.7", "v0", "v1", "v2"))
    for ifindex, kind in ((bond, "ovs"), (vlan, "vxlan"), (v0, "ifb"), (v1, "ifb"), (v2, "gretap")):
        link = links[ifindex]
        assert isinstance(link, LinkInfo)
        links[ifindex] = replace(link, kind=kind)
    asked: list[str] = []
    listed = kernel.files.at

    def at(path: str) -> Any:
        asked.append(path.rpartition("/")[2])
        return listed(path)

    monkeypatch.setattr(kernel.files, "at", at)

    def ask(known: dict[str, Nic]) -> tuple[dict[str, Nic], set[str]]:
        asked.clear()
        return read(kernel, {nic.ifindex: nic for nic in known.values()}), set(asked)

    found, first = ask({})
    assert first >= {"bond0", "bond0.7", "v0", "v1", "v2"}
    again, second = ask(found)
    assert second & {"bond0", "bond0.7", "v0", "v1", "v2"} == {"bond0"}
    assert again == found
    link = links[v0]
    assert isinstance(link, LinkInfo)
    links[v0] = replace(link, up=not link.up)
    assert "v0" in ask(again)[1], "its entry is another"
    assert "v0" not in ask(ask(again)[0])[1]


def test_an_unread_card_stays_the_same_object_until_it_is_another() -> None:
    kernel = WritableKernel(MACHINE)
    first = read(kernel, {})
    known = {nic.ifindex: nic for nic in first.values()}
    again = read(kernel, known)
    assert all(again[name] is nic for name, nic in first.items() if nic.unread)
    links = kernel.answers.cards(LINKS)
    ifindex = first["v0"].ifindex
    link = links[ifindex]
    assert isinstance(link, LinkInfo)
    assert is_as(first["v0"], replace(link, up=not link.up, running=not link.running))
    assert not is_as(first["v0"], replace(link, name="w0"))
    for other in (replace(link, mac="02:00:00:00:00:99"), replace(link, master=4)):
        assert not is_as(first["v0"], other)
        links[ifindex] = other
        new = read(kernel, known)["v0"]
        assert (new.mac, new.master) == (other.mac, other.master)


def test_a_card_that_was_read_once_stays_read() -> None:
    kernel = WritableKernel(MACHINE)
    known = {nic.ifindex: nic for nic in read(kernel, {}, {"kind": "veth"}).values()}
    assert not any(nic.unread for nic in read(kernel, known).values() if nic.kind == "veth")
    unread = {nic.ifindex: nic for nic in read(kernel, {}).values()}
    assert not any(
        nic.unread for nic in read(kernel, unread, {"kind": "veth"}).values() if nic.kind == "veth"
    )
