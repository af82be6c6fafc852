"""A card's alternative names match as its name does, and name it wherever that does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from netuned.kernel.rtnl import Rtnl
from netuned.status import IN_SYNC, PAUSED, UNMANAGED
from tests.netns.conftest import Namespace
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

LONG = "the-name-that-the-rack-plan-has-of-this-card"
PROFILE = "match: [{{kind: veth, name: {}}}]\nrps: {{cpus: 0}}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        made.profile("p", PROFILE.format(LONG))
        made.start()
        yield made


def name(lab: Lab, how: str = "add", *names: str) -> None:
    words = [word for each in names or (LONG,) for word in ("altname", each)]
    lab.run("ip", "link", "property", how, "dev", "lan0", *words)


def rps(lab: Lab) -> str:
    return lab.attribute("lan0", "rx-0", "rps_cpus")


def test_a_profile_follows_an_alternative_name(lab: Lab) -> None:
    """By the kernel's event, in both directions; the resync, 30 s away, is not waited for."""
    assert lab.card("lan0")["state"] == UNMANAGED
    name(lab)
    lab.wait(lambda: rps(lab) == "1", "the profile, by a name that came")
    assert lab.card("lan0")["altnames"] == [LONG]
    lab.profile("p", PROFILE.format(f'["*", "!{LONG}"]'))
    lab.wait(lambda: rps(lab) == "0", "what was there before, by a name that is excluded")
    name(lab, "del")
    lab.wait(lambda: rps(lab) == "1", "the profile, by a name that went")


def test_it_names_the_card_everywhere(lab: Lab) -> None:
    name(lab, "add", LONG, "wan0")
    lab.wait_state("lan0", IN_SYNC)
    with lab.asking() as client:
        client.pause("wan0")
        assert lab.card("lan0")["state"] == PAUSED
        client.resume(LONG)
        client.restore("wan0", "rps")
        assert rps(lab) == "0"
        client.reconcile("wan0")
        assert rps(lab) == "1"
        client.restore(LONG)
        id, _ = client.begin_trial("wan0", 60)
        assert (bool(id), rps(lab)) == (True, "1")
        client.roll_back(id)
        assert rps(lab) == "0"
    for words in (("status", "wan0"), ("apply", LONG), ("plan", "wan0")):
        assert "lan0" in lab.ctl(*words).stdout, words
    assert rps(lab) == "1"
    restored = json.loads(lab.ctl("restore", "wan0", "--json").stdout)
    assert [card["name"] for card in restored["cards"]] == ["lan0"]
    wrong = lab.ctl("status", "wan1", check=False).stderr
    assert wrong.startswith("netunedctl: there is no card named wan1; there are: ")
    where = ("--profiles", str(lab.profiles))
    for words in (("explain", "wan0"), ("plan", LONG)):
        told = lab.ctl(*words, *where, inside=True)
        assert "lan0" in told.stdout, words


def test_the_kernel_tells_them_in_dumps_and_events(netns: Namespace) -> None:
    card = netns.veth("v0", 2)
    rtnl = Rtnl()
    assert rtnl.links()[card].altnames == ()
    netns.sh("ip link property add dev v0 altname wan0 altname $(printf 'a%.0s' $(seq 127))")
    assert rtnl.links()[card].altnames == ("wan0", "a" * 127)
    assert rtnl.links() is rtnl.links()
    netns.sh("ip link property del dev v0 altname wan0")
    assert rtnl.links()[card].altnames == ("a" * 127,)
