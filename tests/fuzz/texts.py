"""Text that people write: profiles, CPU sets, settings, described machines."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from unittest.mock import patch

import yaml
from pydantic import ValidationError

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.hardware.nic import HOST
from netuned.importing.profiles import bring, reader_of
from netuned.profiles import loader, searchpath, settings, syntax
from netuned.profiles.profile import Profile
from netuned.profiles.yamlwriting import dump
from netuned.reconcile.baseline import check_keeps
from netuned.snapshots import described
from netuned.tunables import HOST_TUNABLES
from netuned.tunables.base import Boot
from tests.fuzz.target import Target, sound


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _profile(data: bytes) -> None:
    directory = "/etc/netuned/profiles.d"
    recorded: searchpath.Recorded = {
        directory: {"edge.yaml": data, "base.yaml": b"irq: {cpus: all}"}
    }
    possible = CpuSet.parse_list("0-63")
    for error in loader.load((directory,), possible=possible, recorded=recorded).errors:
        sound(error)


def _host(data: bytes) -> None:
    """What a profile may say of the host: files stay below their directory, values can be kept."""
    if not isinstance(said := load_yaml(data), dict):
        return
    try:
        profile = Profile.of({"name": "edge", "host": said})
    except ValidationError:
        return
    for tunable in HOST_TUNABLES:
        found = tunable.gathered([profile]) if tunable.gathered else None
        for key, value in found.values[tunable.name].items() if found else ():
            assert tunable.accepts(key)
            directory, name = next(tunable.marked(HOST, f"{tunable.name} {key}"))
            path = os.path.normpath(f"{directory}/{name}")
            assert path == f"{directory}/{name}"
            assert path.startswith(("/proc/sys/net/", "/proc/sys/vm/", "/sys/devices/system/node/"))
            if not isinstance(value, Boot):
                assert not isinstance(value, NetunedError)
                check_keeps("host", tunable, {key: value})


def load_yaml(data: bytes) -> object:
    """Plain YAML, or nothing."""
    try:
        return yaml.safe_load(data.decode("utf-8", "surrogateescape"))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _expression(data: bytes) -> None:
    try:
        expression = syntax.parse(_text(data))
    except NetunedError as error:
        sound(error)
        return
    for node in expression.nodes():
        assert expression.source(node)


def _cpulist(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        cpus = CpuSet.parse_list(_text(data))
        assert CpuSet.parse_list(str(cpus)) == cpus


def _cpumask(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        cpus = CpuSet.parse_mask(_text(data))
        assert CpuSet.parse_mask(cpus.to_mask()) == cpus


def _settings(data: bytes) -> None:
    with patch.object(settings, "read_trusted", return_value=data):
        found = settings.load_settings("/etc/../etc/netuned.yaml", settings.Settings())
    for error in found.errors:
        sound(error)


def _machine(data: bytes) -> None:
    try:
        described.machine(_text(data))
    except NetunedError as error:
        sound(error)


IMPORTED = ("tune.sh", "10-lan.link", "tuned.conf", "perftune.yaml", "90-net.conf")


def _imported(data: bytes) -> None:
    """By all readers; a profile that comes of it is good."""
    for name in IMPORTED:
        text = _text(data)
        try:
            found = bring(reader_of(name, text)(text))
        except NetunedError as error:
            sound(error)
            continue
        for profile in found.profiles.values():
            assert not loader.load((), dropped={"a.yaml": dump(profile).encode()}).errors


PROFILE = (Path(__file__).parents[2] / "profiles").glob("*.yaml")

TARGETS = (
    Target(
        "profile",
        _profile,
        tuple(path.read_bytes() for path in sorted(PROFILE)),
        (
            *(b"extends: [base]", b"extends: edge", b"&a ", b"*a", b"<<: ", b"!!python/x ", b"---"),
            *(b"irq:", b"cpus: ", b"0-3", b"rss:", b"weights: [1, 2]", b"match:", b"- ", b"\n  "),
            *(b"qdisc: {kind: fq}", b"auto", b"keep", b"1e999", b"0x7fffffffffffffffff", b"{"),
        ),
    ),
    Target(
        "host",
        _host,
        (
            b'sysctl: {net.core.rmem_max: ">=512M", net.ipv4.tcp_rmem: [1, 2, 3]}',
            b"hugepages: {2M: {node0: 512, node1: default}, 1G: {node0: 4}}",
            b"sysctl: {net.ipv4.conf.eth0/1.forwarding: 1, vm.x: a b}\nyield: [vm.x]",
        ),
        (
            *(b"..", b"/", b"./", b"//", b">=", b"<=", b"-1", b"\xc2\xb2", b"default", b"\\n"),
            *(b"vm.drop_caches", b"99999999999999999999", b"0x10", b"yes", b"null", b"a" * 70),
        ),
    ),
    Target(
        "CPU set",
        _expression,
        (b"local & housekeeping - first-threads | take(2, node:0)", b"0-3,8 | @irq"),
        (b"(", b")", b" - ", b"&", b"take(1,", b"l3:", b"99999999", b"\xc2\xb2", b"0-65535"),
    ),
    Target(
        "cpulist", _cpulist, (b"0-3,8,16-31:2/4",), (b"-", b",", b":1/2", b"65535", b"\xc2\xb2")
    ),
    Target("cpumask", _cpumask, (b"ff,00000001",), (b",", b"ffffffff", b"-1", b"0x", b"_")),
    Target("netuned.yaml", _settings, (b"confirm_timeout: 60s",), (b"9" * 30, b"1h", b"{", b"off")),
    Target(
        "another tool's file",
        _imported,
        (
            b"ethtool -L eth0 combined 8\ntc qdisc add dev eth0 root fq\nsysctl -w net.a=1\n",
            b"ip -n b link set eth0 qlen 9\ncat <<E\nE\nip link set dev eth0 qlen 9 up \\\n",
            b"[Match]\nDriver=igb\n[Link]\nRxBufferSize=4096\nRxCoalesceSec=50us\n",
            b"[main]\n[net]\ndevices=eth0\nring=rx 512\n[variables]\na=${b}\nb=${a}\n",
            b"[variables]\na=1\nb=${a}${a}\nc=${b}${b}\n[net]\ndevices=e*,!${c}\nring=rx ${c}\n",
            b"nic: [eth0]\nmode: sq\nirq_cpu_mask: 0x3\narfs: true\n",
        ),
        (b"\xc2\xb2", b"--5", b"=", b"\n[Link]\n", b"if ", b"<<EOF", b"&a ", b"*a", b"${", b">="),
    ),
    Target(
        "described machine",
        _machine,
        (b"cores: 8\nnodes: 2\ncards:\n  - {name: eth0, driver: ice, queues: 8}\n",),
        (b"threads: 2", b"count: 64", b"over: [eth0]", b"kind: bond", b"mac: ", b"99999999", b"-1"),
    ),
)
