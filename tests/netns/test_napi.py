"""NAPI instances on a real kernel: of a veth card, which has one for each queue while GRO is on."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.kernel.netdev import NetdevNetlink
from tests.netns.conftest import CLONE_NEWNET, _call
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

CARD = "lan0"
QUEUES = 3
FILES = {
    "defer-hard-irqs": "napi_defer_hard_irqs",
    "gro-flush-timeout": "gro_flush_timeout",
    "threaded": "threaded",
}
T = TypeVar("T")


@pytest.fixture
def lab(skip: Callable[[str], NoReturn]) -> Iterator[Lab]:
    if not NetdevNetlink().sets_napis():  # the VM has kernels without
        skip("Linux 6.13, which sets NAPI instances one by one")
    with Lab() as made:
        made.add_pair(CARD, "peer0", queues=QUEUES)
        made.shell(f"ethtool -K {CARD} gro on")
        yield made


def inside(lab: Lab, work: Callable[[NetdevNetlink], T]) -> T:
    """Do something in the lab's namespace, where this process is not."""

    def run() -> T:
        with Path(f"/run/netns/{lab.namespace}").open() as there:
            _call("setns", there.fileno(), ctypes.c_int(CLONE_NEWNET))
        return work(NetdevNetlink())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def ifindex(lab: Lab) -> int:
    return int(lab.shell(f"cat /sys/class/net/{CARD}/ifindex"))


def napis(lab: Lab, *names: str) -> dict[str, int]:
    """What instances have; of these settings, else of all but what changes by itself."""
    found = inside(lab, lambda netdev: netdev.napi_settings().get(ifindex(lab), {}))
    names = names or (*FILES, "irq-suspend-timeout")
    return {key: number for key, number in found.items() if key.partition(" ")[2] in names}


def put(lab: Lab, **values: int) -> None:
    """Set instances by hand; ``rx_0__defer_hard_irqs`` is that of the first queue."""
    named = {k.replace("__", " ").replace("_", "-"): value for k, value in values.items()}
    inside(lab, lambda netdev: netdev.set_napis(ifindex(lab), named))


def files(lab: Lab) -> dict[str, int]:
    return {
        name: int(lab.shell(f"cat /sys/class/net/{CARD}/{file}")) for name, file in FILES.items()
    }


def state(lab: Lab) -> tuple[dict[str, int], dict[str, int]]:
    return files(lab), napis(lab)


def drop(lab: Lab, said: str) -> Path:
    return lab.profile("edge", f"match: [{{kind: veth, name: {CARD}}}]\n{said}\n")


def setting(lab: Lab) -> dict[str, Any]:
    (found,) = [s for s in lab.card(CARD)["settings"] if s["tunable"] == "napi"]
    return dict(found)


def of_all(name: str, number: int) -> dict[str, int]:
    return {f"rx-{queue} {name}": number for queue in range(QUEUES)}


def wait_back(lab: Lab, before: object) -> None:
    lab.wait_state(CARD, "unmanaged")
    assert state(lab) == before


def test_all_are_set_repaired_and_put_back(lab: Lab) -> None:
    """With what somebody had set of one before, which no file shows."""
    put(lab, rx_1__defer_hard_irqs=9, rx_2__irq_suspend_timeout=77)
    before = state(lab)
    path = drop(lab, "napi: {defer-hard-irqs: 2, gro-flush-timeout: 20us}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    now = state(lab)
    assert now[0] == {"defer-hard-irqs": 2, "gro-flush-timeout": 20000, "threaded": 0}
    assert (
        now[1].items()
        >= {
            **of_all("defer-hard-irqs", 2),
            **of_all("gro-flush-timeout", 20000),
            "rx-2 irq-suspend-timeout": 77,
        }.items()
    )
    assert "napi" in setting(lab)["tunable"]
    assert setting(lab)["found"] == "defer-hard-irqs 2 polls, gro-flush-timeout 20000 ns"
    lab.shell(f"echo 5 >/sys/class/net/{CARD}/gro_flush_timeout")
    lab.wait(lambda: state(lab) == now, "the repair of what a file shows")
    put(lab, rx_0__defer_hard_irqs=7)
    lab.wait(lambda: state(lab) == now, "the repair of what raises no event")
    lab.wait_state(CARD, "in-sync")
    path.unlink()
    wait_back(lab, before)


def test_single_queues_come_after_the_card(lab: Lab) -> None:
    before = state(lab)
    queues = "{1: {defer-hard-irqs: 100, gro-flush-timeout: 200us, irq-suspend-timeout: 20ms}}"
    path = drop(lab, f"napi: {{defer-hard-irqs: 2, gro-flush-timeout: 10us, queues: {queues}}}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    own = {
        "rx-1 defer-hard-irqs": 100,
        "rx-1 gro-flush-timeout": 200_000,
        "rx-1 irq-suspend-timeout": 20_000_000,
    }
    rest = {**of_all("defer-hard-irqs", 2), **of_all("gro-flush-timeout", 10_000)}
    now = state(lab)
    assert now[1].items() >= {**rest, **own}.items()
    lab.shell(f"echo 0 >/sys/class/net/{CARD}/napi_defer_hard_irqs")
    lab.wait(lambda: state(lab) == now, "the repair, of all that the write went to")
    assert json.loads(lab.ctl("plan", "--json").stdout)["changes"] == []
    words = ("explain", CARD, "1", "--json", "--profiles", str(lab.profiles))
    found = lab.ctl(*words, inside=True)
    assert "irq-suspend-timeout 20000000 ns" in found.stdout

    drop(lab, "napi: {queues: {1: {defer-hard-irqs: 4}}}")
    lab.wait(lambda: napis(lab)["rx-1 defer-hard-irqs"] == 4, "the other profile")
    lab.wait_state(CARD, "in-sync")
    left = {**before[1], "rx-1 defer-hard-irqs": 4}
    assert state(lab) == (before[0], left), "what it no longer names is back"
    path.unlink()
    wait_back(lab, before)


def test_a_card_that_goes_down_and_up_has_other_instances(lab: Lab) -> None:
    before = state(lab)
    said = "defer-hard-irqs: 3, gro-flush-timeout: 10us, queues: {2: {irq-suspend-timeout: 1ms}}"
    path = drop(lab, f"napi: {{{said}}}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    now = state(lab)
    lab.shell(f"ip link set {CARD} down")
    lab.wait_state(CARD, "partial")
    assert "the card is down" in setting(lab)["reason"]
    lab.shell(f"ip link set {CARD} up")
    put(lab, rx_2__irq_suspend_timeout=5)
    lab.wait(lambda: state(lab) == now, "the same of other instances")
    lab.shell(f"ip link set {CARD} down")
    lab.wait_state(CARD, "partial")
    path.unlink()
    lab.wait(lambda: not lab.card(CARD)["profile"], "the profile to go")
    lab.wait(lambda: files(lab) == before[0], "what files show")
    lab.shell(f"ip link set {CARD} up")
    lab.wait(lambda: state(lab) == before, "the rest, once it can be put back")


def test_instances_that_come_are_set(lab: Lab) -> None:
    lab.shell(f"ethtool -K {CARD} gro off")
    assert napis(lab) == {}
    drop(lab, "napi: {defer-hard-irqs: 3, queues: {0: {defer-hard-irqs: 8}}}")
    lab.start()
    lab.wait_state(CARD, "partial")
    assert "no NAPI instance is known to serve the queue" in setting(lab)["reason"]
    assert files(lab)["defer-hard-irqs"] == 3
    drop(lab, "napi: {defer-hard-irqs: 3}")
    lab.wait_state(CARD, "in-sync")
    drop(lab, "offloads: {gro: on}\nnapi: {defer-hard-irqs: 3, queues: {0: {defer-hard-irqs: 8}}}")
    wanted = {**of_all("defer-hard-irqs", 3), "rx-0 defer-hard-irqs": 8}
    lab.wait(lambda: napis(lab, "defer-hard-irqs") == wanted, "the instances that came")
    lab.wait_state(CARD, "in-sync")


def test_a_trial_is_undone_and_what_was_is_back(lab: Lab) -> None:
    put(lab, rx_1__defer_hard_irqs=9)
    before = state(lab)
    lab.start()
    drop(lab, "napi: {defer-hard-irqs: 2, queues: {0: {irq-suspend-timeout: 1ms}}}")
    lab.wait_state(CARD, "in-sync")
    lab.ctl("restore")
    lab.wait(lambda: state(lab) == before, "what was there before")
    lab.ctl("apply", "--confirm", "60s")
    lab.wait(lambda: files(lab)["defer-hard-irqs"] == 2, "the trial")
    lab.ctl("rollback")
    lab.wait(lambda: state(lab) == before, "what was there before")


def test_threads_are_of_the_card_or_of_single_queues(lab: Lab) -> None:
    if "rx-0 threaded" not in napis(lab, "threaded"):
        pytest.skip("Linux 6.17, which sets threads one by one")
    put(lab, rx_2__threaded=1)
    before = state(lab)
    path = drop(lab, "napi: {threaded: on, queues: {1: {threaded: off}}}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    now = state(lab)
    assert now[0]["threaded"] == 1
    assert now[1].items() >= {**of_all("threaded", 1), "rx-1 threaded": 0}.items()
    lab.shell(f"echo 0 >/sys/class/net/{CARD}/threaded")
    lab.wait(lambda: state(lab) == now, "the repair")

    drop(lab, "napi: {threaded: busy-poll}")
    lab.wait(lambda: files(lab)["threaded"] == 0, "the card's own to be back")
    try:
        put(lab, rx_0__threaded=2)
    except KernelError:
        lab.wait(lambda: "Linux 6.19 does" in str(lab.card(CARD)), "what the kernel lacks")
    else:
        lab.wait(lambda: napis(lab, "threaded") == of_all("threaded", 2), "busy polling")
    path.unlink()
    wait_back(lab, before)


class WithoutNice(Lab):
    """A lab whose programs may do what the unit lets netuned do, as to threads."""

    def command(self, *words: str) -> list[str]:
        bound = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")
        return super().command(*bound, *words)


def pinned(lab: Lab) -> dict[str, str]:
    """Where the threads of instances may run, as a list of CPUs."""
    return {key.split()[0]: str(CpuSet(mask)) for key, mask in napis(lab, "threads").items()}


def of_queues(cpus: str) -> dict[str, str]:
    return {f"rx-{queue}": cpus for queue in range(QUEUES)}


def test_threads_are_pinned_again_and_let_go(lab: Lab) -> None:
    lab.shell(f"echo 1 >/sys/class/net/{CARD}/threaded")
    put(lab, rx_1__threads=0b10)
    before = pinned(lab)
    assert before["rx-1"] == "1" != before["rx-0"]
    path = drop(lab, "napi: {threads: 0}")
    lab.start()
    lab.wait_state(CARD, "in-sync")
    assert pinned(lab) == of_queues("0")
    assert setting(lab)["found"] == "threads 0"
    put(lab, rx_2__threads=0b10)
    lab.wait(lambda: pinned(lab) == of_queues("0"), "the repair of what raises no event")
    lab.shell(f"ip link set {CARD} down; ip link set {CARD} up")
    lab.wait(lambda: pinned(lab) == of_queues("0"), "the same of other threads")
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert pinned(lab) == before


def test_threads_come_with_the_setting_and_go_where_queues_are_served(lab: Lab) -> None:
    drop(lab, "napi: {threads: irq}")
    lab.start()
    lab.wait_state(CARD, "partial")
    assert "no kernel thread is known to poll for the queue" in setting(lab)["reason"]
    path = drop(lab, "napi: {threaded: on, threads: irq}")
    lab.wait_state(CARD, "in-sync")
    words = ("explain", CARD, "--json", "--profiles", str(lab.profiles))
    told = json.loads(lab.ctl(*words, inside=True).stdout)["queues"]
    assert pinned(lab) == {f"rx-{queue['queue']}": queue["cpus"] for queue in told}
    path.unlink()
    lab.wait_state(CARD, "unmanaged")
    assert pinned(lab) == {}
    assert "Cannot put back" not in lab.logged()


def test_without_the_right_the_rest_is_set_and_the_way_to_it_told(lab: Lab) -> None:
    with WithoutNice() as bare:
        bare.add_pair(CARD, "peer0", queues=QUEUES)
        bare.shell(f"ethtool -K {CARD} gro on")
        drop(bare, "napi: {threaded: on, threads: 0}")
        bare.start()
        bare.wait_state(CARD, "partial")
        assert "systemd/system/netuned.service.d /usr/lib/netuned/napi-threads.conf" in str(
            setting(bare)["reason"]
        )
        assert files(bare)["threaded"] == 1
        assert "0" not in pinned(bare).values()
