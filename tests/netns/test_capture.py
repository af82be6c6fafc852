"""``netunedctl capture`` of cards that somebody set by hand: a plan of it has nothing to do."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator

import pytest
import yaml

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "lan0"
QUEUES = f"/sys/class/net/{CARD}/queues"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair(CARD, "peer0", queues=4)
        yield made


def ctl(lab: Lab, *words: str) -> str:
    return lab.run(sys.executable, "-m", "netuned.cli", *words).stdout


def captured(lab: Lab, *words: str) -> tuple[dict[str, object], list[str]]:
    """The profile, and what no profile can say; and that nothing is to be done for it."""
    text = ctl(lab, "capture", CARD, *words)
    shown = json.loads(ctl(lab, "capture", CARD, *words, "--json"))
    assert yaml.safe_load(text).keys() == shown["profile"].keys()
    file = lab.profile("captured", text)
    plan = json.loads(ctl(lab, "plan", "--json", "--profiles", str(lab.profiles)))
    assert not [change for change in plan["changes"] if change["ifname"]]
    assert (plan["unsupported"], plan["withheld"]) == ([], [])
    file.unlink()
    assert shown["profile"].pop("match") == [{"kind": "veth", "name": CARD}]
    return shown["profile"], [left["tunable"] for left in shown["left_out"]]


def test_of_a_card_that_nobody_set_it_says_how_it_comes(lab: Lab) -> None:
    """Without GRO and with all channels, unlike others."""
    said, left = captured(lab)
    assert (said.keys() - {"offloads"}, left) == ({"channels"}, [])
    whole, left = captured(lab, "--all")
    assert not left
    assert (whole["rps"], whole["qdisc"]) == ({"cpus": "none"}, "default")


def test_what_somebody_set_is_said_in_a_profiles_words(lab: Lab) -> None:
    lab.shell(
        f"""ethtool -L {CARD} rx 2 tx 2
        ethtool -K {CARD} tso off rx-gro-list on
        for queue in {QUEUES}/rx-*; do echo 1 >$queue/rps_cpus; done
        tc qdisc replace dev {CARD} root handle 1: mq
        for n in 1 2; do tc qdisc replace dev {CARD} parent 1:$n bfifo limit 9000; done"""
    )
    said, left = captured(lab)
    assert not left
    offloads = said.pop("offloads")
    assert isinstance(offloads, dict)
    assert (offloads["rx-gro-list"], offloads["tx-tcp-segmentation"]) == ("on", "off")
    assert said == {
        "channels": {"rx": 2, "tx": 2},
        "rps": {"cpus": "0"},
        "qdisc": {"kind": "bfifo", "limit": 9000},
    }


def test_what_no_profile_can_say_is_named_and_left_out(lab: Lab) -> None:
    lab.shell(
        f"""echo 1 >{QUEUES}/rx-0/rps_cpus
        tc qdisc replace dev {CARD} root pfifo limit 7"""
    )
    said, left = captured(lab)
    assert (said.keys() - {"offloads"}, left) == ({"channels"}, ["rps", "qdisc"])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_it_is_set_to_there_is_nothing_to_do(lab: Lab, seed: int) -> None:
    choice = random.Random(seed)
    rx, tx = choice.randint(1, 4), choice.randint(1, 4)
    lines = [f"ethtool -L {CARD} rx {rx} tx {tx}"]
    for number in range(4):
        for kind, count, file in (("rx", rx, "rps_cpus"), ("tx", tx, "xps_cpus")):
            if number < count and count > 1 and choice.random() < 0.4:
                lines.append(f"echo {choice.randint(0, 3)} >{QUEUES}/{kind}-{number}/{file}")
    for feature in ("tso", "gro", "sg", "rx-gro-list", "tx-udp-segmentation"):
        if choice.random() < 0.5:
            lines.append(f"ethtool -K {CARD} {feature} {choice.choice(('on', 'off'))} || true")
    kind = choice.choice(("pfifo limit 9", "bfifo limit 4000", "pfifo_fast"))
    if choice.random() < 0.4:
        lines.append(f"tc qdisc replace dev {CARD} root {kind}")
    elif tx > 1:
        lines.append(f"tc qdisc replace dev {CARD} root handle 9: mq")
        lines += [f"tc qdisc replace dev {CARD} parent 9:{queue + 1} {kind}" for queue in range(tx)]
    lab.shell("\n".join(lines))
    captured(lab)
    captured(lab, "--all")
