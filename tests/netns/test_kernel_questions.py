"""Every question against this kernel: of one card, of all, set and refused, and through a snapshot.

A tap device has one coalescing parameter, rx-frames, and clamps it to 64. Rings, adaptive modes and
the others need hardware and are tested in the VM.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from netuned.errors import KernelError, UnsupportedError
from netuned.kernel import Kernel
from netuned.kernel.once import Once
from netuned.kernel.questions import (
    CHANNELS,
    COALESCE,
    DRIVER_INFO,
    LINK_NUMBERS,
    LINKS,
    NAPI_INTERRUPTS,
    QDISCS,
    QUESTIONS,
    RINGS,
    Question,
)
from netuned.snapshots import snapshot
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns

GONE = 9999


@pytest.fixture
def tap(netns: Namespace) -> int:
    netns.sh("ip tuntap add t0 mode tap")
    return socket.if_nametoindex("t0")


def answer(kernel: Kernel | Once, question: Question[Any], ifindex: int) -> object:
    try:
        return kernel.get(question, ifindex)
    except UnsupportedError as error:
        return str(error)


def test_what_one_card_answers_is_what_all_do(netns: Namespace, tap: int) -> None:
    kernel = Kernel()
    netns.sh("ip link add br0 type bridge")
    cards = (1, tap, netns.veth("v0", 8), netns.veth("w0", up=False), socket.if_nametoindex("br0"))
    kernel.set(COALESCE, tap, {"rx-frames": 7})
    for question in QUESTIONS:
        once = Once(kernel)
        for card in cards:
            assert answer(once, question, card) == answer(kernel, question, card), question.name
        if question.dumps:
            assert set(kernel.dump(question)) <= {*cards, *kernel.dump(LINKS)}
        else:
            with pytest.raises(UnsupportedError, match="all cards at once"):
                kernel.dump(question)


def test_all_cards_are_told_in_one_request(netns: Namespace, tap: int) -> None:
    kernel = Kernel()
    veth = netns.veth("v0", 8)
    netns.sh("ethtool -L v0 rx 3 tx 5")
    assert kernel.dump(CHANNELS)[veth] == kernel.get(CHANNELS, veth)
    assert (kernel.dump(CHANNELS)[veth].rx, kernel.dump(CHANNELS)[veth].tx_max) == (3, 8)
    assert dict(kernel.dump(COALESCE)) == {tap: {"rx-frames": 0}}
    assert kernel.dump(QDISCS)[veth] == kernel.get(QDISCS, veth)


def test_a_dump_is_the_same_object_while_nothing_changes(netns: Namespace, tap: int) -> None:
    kernel = Kernel()
    before = kernel.dump(COALESCE)
    assert kernel.dump(COALESCE) is before
    assert kernel.dump(NAPI_INTERRUPTS) is kernel.dump(NAPI_INTERRUPTS)
    netns.sh("ethtool -C t0 rx-frames 9")
    assert kernel.dump(COALESCE) == {tap: {"rx-frames": 9}}
    assert before == {tap: {"rx-frames": 0}}
    netns.sh("ip link del t0")
    assert kernel.dump(COALESCE) == {}


def test_settings_are_written_in_one_message(netns: Namespace, tap: int) -> None:
    kernel = Kernel()
    kernel.set(COALESCE, tap, {"rx-frames": 33})
    assert kernel.get(COALESCE, tap) == {"rx-frames": 33}
    assert "rx-frames: 33" in " ".join(netns.sh("ethtool -c t0").split())
    kernel.set(COALESCE, tap, {"rx-frames": 0xFFFFFFFF})
    assert kernel.get(COALESCE, tap) == {"rx-frames": 64}, "as the driver has it"
    assert kernel.writes == 2
    kernel.set(COALESCE, tap, {})
    assert kernel.writes == 2, "nothing to change is no write"
    veth = netns.veth("v0", 8)
    kernel.set(CHANNELS, veth, {"rx": 2, "tx": 6})
    assert (kernel.get(CHANNELS, veth).rx, kernel.get(CHANNELS, veth).tx) == (2, 6)
    assert kernel.writes == 3


@pytest.mark.parametrize(
    ("values", "number", "named"),
    [
        ({"rx-frames": 5, "tx-usecs": 0}, errno.EINVAL, "tx-usecs"),
        ({"adaptive-rx": 1, "rx-frames": 5}, errno.EINVAL, "adaptive-rx"),
        ({"rx-frames": 5, "tx-aggr-max-bytes": 5}, errno.EINVAL, "tx-aggr-max-bytes"),
        ({"rx-frames": 5, "cqe-mode-rx": 256}, errno.ERANGE, "cqe-mode-rx"),
        ({"rx-frames": 1 << 32}, errno.ERANGE, "rx-frames"),
        ({"rx-frames": -1}, errno.ERANGE, "rx-frames"),
        ({"rx-frames": 5, "rx": 5}, errno.EINVAL, "rx"),
    ],
)
def test_a_refusal_names_what_is_refused(
    netns: Namespace, tap: int, values: dict[str, int], number: int, named: str
) -> None:
    kernel = Kernel()
    with pytest.raises(KernelError) as refused:
        kernel.set(COALESCE, tap, values)
    error = refused.value
    assert (error.errno, error.attribute, error.gone) == (number, named, False)
    assert named in str(error)
    assert kernel.get(COALESCE, tap) == {"rx-frames": 0}, "all or nothing"
    assert kernel.writes == 0


def test_refusals_of_rings_and_channels_name_it_too(netns: Namespace) -> None:
    kernel = Kernel()
    veth = netns.veth("v0", 4)
    for values, named in (({"rx-buf-len": 4096}, "rx-buf-len"), ({"rx-max": 1}, "rx-max")):
        with pytest.raises(KernelError) as refused:
            kernel.set(RINGS, veth, values)
        assert refused.value.attribute == named
    with pytest.raises(KernelError) as refused:
        kernel.set(CHANNELS, veth, {"tx": 2, "rx": 9})
    assert (refused.value.errno, refused.value.attribute) == (errno.EINVAL, "rx")


def test_of_a_link_too_small_a_size_is_named_and_too_large_a_one_said(
    netns: Namespace, tap: int
) -> None:
    kernel = Kernel()
    before = kernel.get(LINK_NUMBERS, tap)
    for values, number, said in (
        ({"txqueuelen": 5, "gso-max-size": 100}, errno.ERANGE, "gso-max-size"),
        ({"gso-max-size": 70000}, errno.EINVAL, "too big gso_max_size"),
        ({"txqueuelen": 5, "rx": 1}, errno.EINVAL, "rx"),
    ):
        with pytest.raises(KernelError, match=said) as refused:
            kernel.set(LINK_NUMBERS, tap, values)
        assert refused.value.errno == number
    assert (kernel.get(LINK_NUMBERS, tap), kernel.writes) == (before, 0)
    kernel.set(LINK_NUMBERS, tap, {"gso-max-size": 6000, "gso-ipv4-max-size": 7000})
    found = kernel.dump(LINK_NUMBERS)[tap]
    assert (found["gso-max-size"], found["gso-ipv4-max-size"], kernel.writes) == (6000, 7000, 1)


def test_what_a_driver_lacks_as_a_whole_is_unsupported(netns: Namespace) -> None:
    kernel = Kernel()
    veth = netns.veth("v0", 4)
    for setting, values in ((RINGS, {"rx": 64}), (COALESCE, {"rx-frames": 1})):
        with pytest.raises(UnsupportedError, match=setting.name):
            kernel.get(setting, veth)
        with pytest.raises(UnsupportedError, match=setting.name):
            kernel.set(setting, veth, values)
    assert kernel.writes == 0


def test_a_card_that_is_not_there(netns: Namespace) -> None:
    kernel = Kernel()
    asked: tuple[Question[Any], ...] = (DRIVER_INFO, CHANNELS, RINGS, COALESCE, LINKS)
    for question in asked:
        with pytest.raises(KernelError) as gone:
            kernel.get(question, GONE)
        assert gone.value.gone, question.name
    with pytest.raises(KernelError) as gone:
        kernel.set(COALESCE, GONE, {"rx-frames": 1})
    assert (gone.value.gone, gone.value.attribute) == (True, "")


def test_every_question_goes_through_a_snapshot(netns: Namespace, tap: int, tmp_path: Path) -> None:
    netns.veth("v0", 4)
    netns.sh("ip link add br0 type bridge && tc qdisc add dev v0 root pfifo limit 77")
    netns.sh("until [ $(cat /sys/class/net/v0*/operstate | grep -cx up) = 2 ]; do sleep 0.01; done")
    kernel = Kernel()
    kernel.set(COALESCE, tap, {"rx-frames": 11})
    path = str(tmp_path / "host.tar")
    snapshot.write(snapshot.take(kernel, (), macs=True), path)
    replayed = snapshot.read(path).kernel
    cards = kernel.dump(LINKS)
    for question in QUESTIONS:
        if question.dumps:
            assert replayed.dump(question) == kernel.dump(question), question.name
        for card in cards:
            if question.dumps or card in replayed.answers.cards(question):
                live, kept = (
                    answer(Once(kernel), question, card),
                    answer(Once(replayed), question, card),
                )
                assert live == kept, question.name
