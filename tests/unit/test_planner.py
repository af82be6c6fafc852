"""Golden plans: profiles, a described machine and its cards' present state -> what would be done.

Each file in ``golden/plan`` is one case, run through the real loader, planner, tunables and diff:

    about:     what the case is for, and why the plan is right
    machine:   arguments of ``machines.topology``
    cards:     name, driver (``machines.CARDS``), queues, node, maximum; ``now`` is what differs
               from the kernel's defaults, by tunable: one value for all keys, or key -> value
    profiles:  name -> the text of its file
    override:  card -> the name of the profile that it is given whatever matches
    expected:  the plan; a line that ends in ``…`` may end in anything. ``NETUNED_WRITE_GOLDEN=1``
               writes it where it differs, to be judged before it is committed
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from netuned.cli.plan import grouped
from netuned.cpuset import CpuSet
from netuned.errors import UnsupportedError
from netuned.hardware.host import Host
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.kernel.netdev import SETTINGS
from netuned.plan import Change
from netuned.planning.diff import diff
from netuned.planning.planner import Desired, plan_host
from netuned.profiles.loader import LoadedProfile, ProfileSet, load
from netuned.reconcile.host import host_target
from netuned.snapshots.drivers import TOEPLITZ
from netuned.tunables import BY_NAME, TUNABLES, bql, coalesce, hashing, link, offloads, rings
from netuned.tunables.base import Boot
from netuned.values import ChannelCounts, FlowTable, Number, Qdisc, RssTable, State, Value, Word
from tests.unit.machines import (
    CARDS,
    CONTEXTS,
    NUMBERS,
    RSS_ENTRIES,
    RULES,
    limits,
    topology,
    with_channels,
)

FIELDS = {"coalesce": coalesce.FIELDS, "link": link.FIELDS, "rings": rings.FIELDS}
GOLDEN = Path(__file__).with_name("golden") / "plan"
CASES = sorted(GOLDEN.glob("*.yaml"))
EXPECTED = "\nexpected: |\n"
KEYS = {"about", "machine", "cards", "profiles", "override", "expected"}


@dataclass(frozen=True)
class Machine:
    """A host and what its kernel holds: ifindex -> tunable -> state."""

    host: Host
    found: Mapping[int, dict[str, State]]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan_is_golden(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    case = yaml.safe_load(text)
    assert not case.keys() - KEYS
    machine = _machine(case)
    profiles = _load(case["profiles"], tmp_path, machine)
    override = _override(case.get("override", {}), profiles, machine)
    desired = plan_host(profiles.profiles, machine.host, override=override)
    plan = _plan(desired, machine)
    shown = _shown(profiles, desired, machine, plan).replace(f"{tmp_path}/", "")
    expected = _filled(case["expected"] or "", shown)
    if shown != expected and os.environ.get("NETUNED_WRITE_GOLDEN") == "1":
        body = "".join(f"  {line}\n" for line in shown.splitlines())
        path.write_text(text.partition(EXPECTED)[0] + EXPECTED + body)
    assert shown == expected
    _settles(profiles, override, machine, plan)


def _filled(expected: str, shown: str) -> str:
    """``expected`` with the ends of what is shown where it leaves them open."""
    lines = expected.splitlines()
    for number, (line, given) in enumerate(zip(lines, shown.splitlines(), strict=False)):
        start = line.removesuffix("…")
        if start != line and given.startswith(start):
            lines[number] = given
    return "".join(f"{line}\n" for line in lines)


def test_there_are_cases_for_all_tunables() -> None:
    shown = Counter(
        line.split()[0]
        for path in CASES
        for line in path.read_text().partition(EXPECTED)[2].splitlines()
        if line.startswith("    ")
    )
    assert all(shown[tunable.name] for tunable in TUNABLES)


# A case becomes a machine


def _machine(case: Mapping[str, Any]) -> Machine:
    cpus = topology(**case.get("machine", {}))
    nics, found = {}, {}
    for ifindex, card in enumerate(case["cards"], 2):
        facts = {key: value for key, value in card.items() if key not in ("driver", "now")}
        nic = CARDS[card["driver"]](ifindex, **facts)
        state = _defaults(nic, cpus.online)
        for tunable, values in card.get("now", {}).items():
            state[tunable] = {**state[tunable], **_given(tunable, values, state[tunable], nic)}
        if "irq" in state:  # the facts hold where interrupts were when they were read
            affinity = tuple(state["irq"][vector.key] for vector in nic.vectors)
            nic = replace(nic, affinity=affinity)  # type: ignore[arg-type]  # all CpuSet
        nics[ifindex], found[ifindex] = nic, state
    return Machine(Host(cpus, nics, cpus.possible), found)


def _defaults(nic: Nic, online: CpuSet) -> dict[str, State]:
    """What a kernel that nobody has touched shows, of the tunables that the card has."""
    state: dict[str, State] = {}
    if nic.counts:
        state["channels"] = {"": nic.counts}
    if entries := RSS_ENTRIES.get(nic.driver):
        table = tuple(index % nic.rss_queues for index in range(entries))
        state["rss"] = {"": RssTable(table)}
        state["hashing"] = hashing.state_of(TOEPLITZ)
    if nic.driver in RULES:
        state["flows"] = {}
    if nic.driver in CONTEXTS:
        state["contexts"] = {}
    for name, numbers in NUMBERS.items() if nic.kind == PHYSICAL else ():
        if name == offloads.NAME:
            state[name] = offloads.state_of(numbers)
            continue
        fields = FIELDS[name]
        state[name] = {key: fields[key].value(n) for key, n in numbers.items() if key in fields}
    of_queues = [f"rx-{queue} {name}" for queue in range(nic.rx_queues) for name in SETTINGS]
    state["napi"] = {
        key: Word("off") if key.endswith("threaded") else Number(0)
        for key in ("defer-hard-irqs", "gro-flush-timeout", "threaded", *of_queues)
    }
    if nic.vectors:
        state["irq"] = {vector.key: online for vector in nic.vectors}
    state["rps"] = {f"rx-{queue}": CpuSet() for queue in range(nic.rx_queues)}
    state["rfs"] = dict.fromkeys(state["rps"], FlowTable(0))
    queues = [f"tx-{queue}" for queue in range(nic.tx_queues)]
    state["xps"] = dict.fromkeys(queues, CpuSet()) if nic.tx_queues > 1 else {}
    state["rxqs"] = dict(state["xps"])
    state["bql"] = {
        f"{queue} {which}": Number(value, "bytes", "unlimited" if value else "")
        for queue in queues
        for which, value in bql.DEFAULTS.items()
    }
    if nic.kind != PHYSICAL:
        state["qdisc"] = {"root": Qdisc("noqueue", default=True)}
    elif nic.tx_queues > 1:
        leaves: State = dict.fromkeys(queues, Qdisc("fq_codel"))
        state["qdisc"] = {"root": Qdisc("mq", default=True), **leaves}
    else:
        state["qdisc"] = {"root": Qdisc("fq_codel", default=True)}
    return state


def _given(tunable: str, values: object, state: State, nic: Nic) -> State:
    each = values if isinstance(values, dict) else dict.fromkeys(state, values)
    found: dict[str, Value] = {}
    for key, text in each.items():
        if tunable == "qdisc":
            kind, *words = str(text).split()
            found[key] = Qdisc(kind)
            pairs = zip(words[::2], words[1::2], strict=True)
            found |= {f"{key} {kind} {name}": Number(int(number)) for name, number in pairs}
        else:
            found[key] = _value(tunable, str(text), nic)
    return found


def _value(tunable: str, text: str, nic: Nic) -> Value:
    """A CPU list; for rss queues in turn, or ``0*64 1*64``; for rfs a number of flows."""
    if tunable == "rfs":
        return FlowTable(int(text))
    if tunable == "rss":
        if "*" in text:
            runs = (map(int, run.split("*")) for run in text.split())
            return RssTable(tuple(queue for queue, count in runs for _ in range(count)))
        queues = list(CpuSet.parse_list(text))
        return RssTable(
            tuple(queues[index % len(queues)] for index in range(RSS_ENTRIES[nic.driver]))
        )
    return CpuSet.parse_list(text)


def _load(texts: Mapping[str, str], directory: Path, machine: Machine) -> ProfileSet:
    for name, text in texts.items():
        path = directory / f"{name}.yaml"
        path.write_text(text)
        path.chmod(0o644)
    possible = machine.host.topology.possible
    return load((str(directory),), possible=possible, owner=os.getuid())


def _override(
    given: Mapping[str, str], profiles: ProfileSet, machine: Machine
) -> dict[int, LoadedProfile]:
    by_name = {loaded.profile.name: loaded for loaded in profiles.profiles}
    ifindexes = {nic.name: ifindex for ifindex, nic in machine.host.nics.items()}
    return {ifindexes[card]: by_name[name] for card, name in given.items()}


# A machine becomes a plan


@dataclass(frozen=True)
class CardPlan:
    changes: tuple[Change, ...]
    unsupported: Mapping[str, str]


def _plan(desired: Desired, machine: Machine) -> dict[int, CardPlan]:
    """What ``apply`` does with a card's target, without a kernel."""
    plans = {}
    for ifindex, target in desired.targets.items():
        nic = machine.host.nics[ifindex]
        wanted: dict[str, State] = {}
        unsupported = {}
        for tunable in TUNABLES:
            if not tunable.asked(target.profile):
                continue
            try:
                state = tunable.desired(target, nic, limits(tunable, nic))
            except UnsupportedError as error:
                unsupported[tunable.name] = error.why
                continue
            unsupported |= {
                f"{tunable.name} {key}": value.why
                for key, value in state.items()
                if isinstance(value, UnsupportedError)
            }
            wanted[tunable.name] = {
                k: v for k, v in state.items() if not isinstance(v, UnsupportedError | Boot)
            }

        def why(name: str, key: str, target: Any = target, nic: Nic = nic) -> str:
            return BY_NAME[name].why(target, nic, key)

        changes = diff(nic.name, wanted, machine.found[ifindex], why)
        allowed = tuple(c for c in changes if not (c.disruptive and target.denies))
        plans[ifindex] = CardPlan(allowed, unsupported)
    return plans


def _shown(
    profiles: ProfileSet, desired: Desired, machine: Machine, plans: Mapping[int, CardPlan]
) -> str:
    lines = [f"profile error: {error}" for error in profiles.errors]
    for ifindex, nic in machine.host.nics.items():
        loaded = desired.profiles.get(ifindex)
        lines.append(f"{nic.name}: {f'profile {loaded.profile.name}' if loaded else 'no profile'}")
        if ifindex in plans:
            lines += [f"  {line}" for line in _card_lines(plans[ifindex])]
    targets = {machine.host.nics[at].name: target for at, target in desired.targets.items()}
    host, _ = host_target(targets, None, ())
    if host is not None:
        lines.append(f"host rfs: {host.values['rfs']['']}; {host.reasons['rfs']['']}")
    if desired.irqbalance:
        lines.append(f"irqbalance: {desired.irqbalance}")
    lines += [f"problem: {problem.ifname}: {problem.message}" for problem in desired.problems]
    lines += [f"conflict: {conflict}" for conflict in desired.conflicts]
    return "".join(f"{line}\n" for line in lines)


def _card_lines(plan: CardPlan) -> Iterator[str]:
    if not plan.changes and not plan.unsupported:
        yield "nothing to do"
    for why, rows in groupby(grouped(plan.changes), key=lambda row: row[1].why):
        for setting, change in rows:
            disruptive = ", disruptive" if change.disruptive else ""
            yield f"{setting}: {_text(change.before)} -> {_text(change.after)}{disruptive}"
        yield f"  why: {why}"
    for tunable, reason in plan.unsupported.items():
        yield f"{tunable} unsupported: {reason}"


def _text(value: Value | None) -> str:
    return "(to come)" if value is None else str(value) or "none"


# A plan that was carried out leaves nothing to do


def _settles(
    profiles: ProfileSet,
    override: Mapping[int, LoadedProfile],
    machine: Machine,
    plans: Mapping[int, CardPlan],
) -> None:
    nics, found = {}, {}
    for ifindex, nic in machine.host.nics.items():
        changes = plans[ifindex].changes if ifindex in plans else ()
        nics[ifindex], found[ifindex] = _carried_out(nic, machine.found[ifindex], changes)
    after = Machine(replace(machine.host, nics=nics), found)
    second = _plan(plan_host(profiles.profiles, after.host, override=override), after)
    assert [change for plan in second.values() for change in plan.changes] == []


def _carried_out(
    nic: Nic, state: Mapping[str, State], changes: Iterable[Change]
) -> tuple[Nic, dict[str, State]]:
    """The card and its state after the kernel has taken these changes."""
    now = {tunable: dict(values) for tunable, values in state.items()}
    online = CpuSet.of(cpu for mask in nic.affinity for cpu in mask)
    for change in changes:
        value = change.after
        if change.tunable == "napi":  # what is of the card goes to all instances
            instances = [key for key in now["napi"] if key.endswith(f" {change.key}")]
            now["napi"] |= dict.fromkeys(instances, value)
        if isinstance(value, ChannelCounts):
            before = {"rss": {}, **_defaults(nic, online)}
            nic = with_channels(nic, value.rx, value.tx, value.combined)
            fresh = _defaults(nic, online)
            if now.get("rss") == before["rss"]:  # the kernel's own table follows the channels
                now["rss"] = dict(fresh["rss"])
            kept = {name: now.get(name, {}) for name in fresh}
            now = {
                name: {key: kept[name].get(key, default) for key, default in values.items()}
                for name, values in fresh.items()
            }
            for name in {"contexts", "flows"} & kept.keys():  # no queue has them
                now[name] = dict(kept[name])
        defaults = _defaults(nic, online)[change.tunable]
        if (isinstance(value, RssTable) and not value.entries) or (
            isinstance(value, Qdisc) and value.default
        ):
            now[change.tunable] = dict(defaults)
        else:
            now[change.tunable][change.key] = value
    if "irq" in now:
        affinity = tuple(now["irq"][vector.key] for vector in nic.vectors)
        nic = replace(nic, affinity=affinity)  # type: ignore[arg-type]  # all CpuSet
    return nic, {name: dict(values) for name, values in now.items()}


def test_low_latency_has_a_queue_for_each_core(tmp_path: Path) -> None:
    """The template as it is shipped: two queues of one core would wait for each other."""
    (tmp_path / "edge.yaml").write_text("extends: [low-latency]\nmatch: {driver: ice}\n")
    directories = (str(tmp_path), str(Path(__file__).parents[2] / "profiles"))
    profiles = load(directories, owner=os.getuid()).profiles
    machine = topology(cores=8, threads=2)
    host = Host(machine, {2: CARDS["ice"](2, "en0", queues=16)}, machine.possible)
    target = plan_host(profiles, host).targets[2]
    assert target.channels == ChannelCounts(0, 0, 8)
    assert sorted(str(cpus) for cpus in target.queue_cpus) == [str(cpu) for cpu in range(8)]
