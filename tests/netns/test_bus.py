"""The D-Bus service and netunedctl on a real bus, with polkit and as an unprivileged user."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from netuned.bus import wire
from netuned.bus.client import Client
from netuned.bus.service import BusService
from netuned.cpuset import CpuSet
from netuned.errors import AbsentError, BusError, NetunedError
from netuned.plan import Change, Plan, Problem
from netuned.status import DRIFTED, IN_SYNC, ProfileStatus, SettingStatus, Status
from tests.netns.bus_fixtures import (
    CALM,
    EMPTY,
    IGB,
    MANAGER,
    NOBODY,
    PLAN,
    POLKITD,
    STATUS,
    UNITS,
    UNMANAGED_NIC,
    Listener,
    PrivateBus,
    Served,
    polkit,
    private_bus,
    served,
    wait_for,
)

GOLDEN = Path(__file__).with_name("golden")
STANDARD = "org.freedesktop.DBus."

Skip = Callable[[str], NoReturn]


PROGRAMS = {
    "dbus-daemon": "dbus",
    "busctl": "systemd",
    "gdbus": "libglib2.0-bin",
    "setpriv": "util-linux",
    "script": "bsdutils",
}
"""What the tests run, and the package each is in."""


@pytest.fixture(scope="module")
def shared_bus() -> Iterator[PrivateBus | str]:
    """The bus, or what is missing for it."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        yield f"needs root and: apt install {' '.join(missing)}" if missing else "needs root"
        return
    with private_bus() as made:
        yield made


@pytest.fixture
def bus(shared_bus: PrivateBus | str, skip: Skip, monkeypatch: pytest.MonkeyPatch) -> PrivateBus:
    if isinstance(shared_bus, str):
        skip(shared_bus)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", shared_bus.address)
    return shared_bus


@pytest.fixture
def daemon(bus: PrivateBus) -> Iterator[Served]:
    with served(bus, STATUS) as service:
        yield service


def call(bus: PrivateBus, method: str, *arguments: str, uid: int = 0) -> tuple[str, str]:
    """What ``gdbus call`` prints: (answer, error)."""
    words = ["gdbus", "call", "--system", "--dest", wire.SERVICE, "--object-path", wire.ROOT]
    done = bus.run(*words, "--method", f"{wire.MANAGER}.{method}", *arguments, uid=uid)
    return done.stdout.strip(), done.stderr.strip()


def introspected(bus: PrivateBus, path: str) -> dict[str, ET.Element]:
    """The interfaces of an object."""
    words = ("busctl", "introspect", "--xml-interface", wire.SERVICE, path)
    root = ET.fromstring(bus.run(*words).stdout)
    return {interface.attrib["name"]: interface for interface in root.iter("interface")}


# Objects and introspection


def test_every_method_is_a_read_or_has_an_action(bus: PrivateBus, daemon: Served) -> None:
    methods = {
        method.attrib["name"]
        for path in (wire.ROOT, wire.nic_path(IGB.ifindex))
        for name, interface in introspected(bus, path).items()
        for method in interface.iter("method")
        if not name.startswith(STANDARD)
    }
    assert methods == set(wire.ACTIONS)


def test_every_action_is_in_the_policy_and_asks_for_an_administrator() -> None:
    policy = ET.parse(UNITS / "org.netuned1.policy")
    actions = {action.attrib["id"]: action for action in policy.iter("action")}
    assert set(actions) == {action for action in wire.ACTIONS.values() if action}
    for action in actions.values():
        defaults = {item.tag: item.text for item in action.iterfind("defaults/*")}
        assert defaults == dict.fromkeys(
            ("allow_any", "allow_inactive", "allow_active"), "auth_admin"
        )


def test_introspection_names_every_argument(bus: PrivateBus, daemon: Served) -> None:
    for path in (wire.ROOT, wire.nic_path(IGB.ifindex)):
        for interface in introspected(bus, path).values():
            for argument in interface.iter("arg"):
                assert argument.attrib.get("name"), ET.tostring(argument)
                assert argument.attrib["type"]
    shown = bus.run(
        *("gdbus", "introspect", "--system", "--dest", wire.SERVICE),
        *("--object-path", wire.nic_path(IGB.ifindex)),
    ).stdout
    assert "readonly aa{sv} Queues = [{'Kind': <'rx'>" in shown
    assert " ".join(shown.split("Repaired(")[1].split(")")[0].split()) == (
        "s tunable, s key, s value, t latency_us"
    )
    plan = introspected(bus, wire.ROOT)[wire.MANAGER].find("method[@name='Plan']")
    assert plan is not None
    assert {a.attrib["name"]: a.attrib["type"] for a in plan.iter("arg")} == {
        "changes": "a(ssssssb)",
        "problems": "a(ss)",
        "values": "a(vv)",
        "withheld": "a(ssssssbvvs)",
    }


def test_a_status_travels_whole(bus: PrivateBus, daemon: Served) -> None:
    with Client() as client:
        got = client.status()
    odd = replace(STATUS.nics[3], name="e\x1b[31m\\xff")
    assert got == replace(STATUS, nics=(*STATUS.nics[:3], odd, STATUS.nics[4]))
    tree = bus.run("busctl", "tree", "--list", wire.SERVICE).stdout.split()
    assert {wire.nic_path(nic.ifindex) for nic in STATUS.nics} < set(tree)


def test_nothing_can_be_set(bus: PrivateBus, daemon: Served) -> None:
    done = bus.run(
        "busctl", "set-property", wire.SERVICE, wire.ROOT, wire.MANAGER, "State", "s", "x"
    )
    assert "readonly" in done.stderr


# Signals


@pytest.fixture
def listener(bus: PrivateBus, daemon: Served) -> Iterator[Listener]:
    made = Listener(bus)
    yield made
    made.close()


def test_only_what_changed_is_signalled(daemon: Served, listener: Listener) -> None:
    daemon.publish(STATUS)
    daemon.publish(replace(STATUS, nics=tuple(replace(nic) for nic in STATUS.nics)))
    assert listener.heard() == []

    drifted = replace(IGB, state=DRIFTED)
    manager = replace(MANAGER, writes=42)
    daemon.publish(Status(manager, (drifted, *STATUS.nics[1:])))
    assert listener.heard() == [
        (
            wire.nic_path(IGB.ifindex),
            "PropertiesChanged",
            (wire.NIC, {"State": ("s", "drifted")}, []),
        ),
        (wire.ROOT, "PropertiesChanged", (wire.MANAGER, {"Writes": ("t", 42)}, [])),
    ]


def test_cards_come_and_go_as_objects(daemon: Served, listener: Listener) -> None:
    new = replace(UNMANAGED_NIC, ifindex=9, name="eth9")
    daemon.publish(replace(STATUS, nics=(*STATUS.nics[1:], new)))
    (gone, come) = listener.heard()
    assert gone == (
        wire.ROOT,
        "InterfacesRemoved",
        (wire.nic_path(IGB.ifindex), [wire.NIC]),
    )
    path, member, (added, interfaces) = come
    assert (path, member, added) == (wire.ROOT, "InterfacesAdded", wire.nic_path(9))
    assert interfaces[wire.NIC]["Name"] == ("s", "eth9")
    with Client() as client:
        assert [nic.ifindex for nic in client.status().nics] == [3, 4, 5, 6, 9]


def test_drift_and_repair_are_signalled(daemon: Served, listener: Listener) -> None:
    daemon.do(lambda: daemon.service.drift(2, "irq", "rx-1", "5", "0-7"))
    daemon.do(lambda: daemon.service.repaired(2, "irq", "rx-1", "5", 412))
    daemon.do(lambda: daemon.service.drift(99, "irq", "rx-1", "5", "0-7"))
    path = wire.nic_path(2)
    assert listener.heard() == [
        (path, "Drift", ("irq", "rx-1", "5", "0-7")),
        (path, "Repaired", ("irq", "rx-1", "5", 412)),
    ]


# Methods


def test_methods_reach_the_controller(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.planned = PLAN
    with Client() as client:
        plan = client.plan()
        client.reload()
        client.reconcile()
        client.reconcile("enp0s3")
        client.resume("e\x1b[31m\\xff")
        assert client.begin_trial("enp0s3", 60) == ("a1b2c3", "2026-11-21 12:00:00")
        client.confirm("a1b2c3")
        client.roll_back()
        client.restore("enp0s3", "rps")
    assert [str(change) for change in plan.changes] == [str(change) for change in PLAN.changes]
    assert [change.disruptive for change in plan.changes] == [c.disruptive for c in PLAN.changes]
    assert plan.problems == PLAN.problems
    assert daemon.controller.asked == [
        ("reload",),
        ("reconcile", ""),
        ("reconcile", "enp0s3"),
        ("resume", "e\x1b[31m\udcff"),
        ("begin_trial", "enp0s3", "60"),
        ("confirm", "a1b2c3"),
        ("roll_back", ""),
        ("restore", "enp0s3", "rps"),
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("eth7", "org.netuned1.Error.NoSuchCard: there is no card named eth7; there are: "),
        ("../../etc/passwd", "org.netuned1.Error.NoSuchCard: there is no card named"),
        ("e" * 509, "org.freedesktop.DBus.Error.InvalidArgs: not an interface name"),
    ],
)
def test_names_are_checked(bus: PrivateBus, daemon: Served, name: str, error: str) -> None:
    assert error in call(bus, "Reconcile", name)[1]
    assert daemon.controller.asked == []


@pytest.mark.parametrize("name", ["a\u3000b", "a\x1cb", "\udcff" * 15, "e\x1b[31m\udcff"])
def test_any_name_the_kernel_takes_can_be_asked_for(
    bus: PrivateBus, daemon: Served, name: str
) -> None:
    daemon.publish(Status(MANAGER, (replace(IGB, name=name), UNMANAGED_NIC)))
    for command in ("apply", "resume"):
        done = bus.ctl(command, name)
        assert (done.returncode, done.stderr) == (0, "")
    assert daemon.controller.asked == [("reconcile", name), ("resume", name)]
    for shown in (name, wire.text(name)):
        done = bus.ctl("status", shown, "--json")
        assert json.loads(done.stdout)["name"] == wire.text(name)


@pytest.mark.parametrize("command", ["apply", "pause", "resume", "status"])
def test_a_name_that_is_not_utf8_gets_one_sentence(
    bus: PrivateBus, daemon: Served, command: str
) -> None:
    done = bus.ctl(command, "x\udcff\udcfe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("netunedctl: there is no card named ")
    assert done.stderr.count("\n") == 1


def test_a_client_shows_names_as_the_service_does(bus: PrivateBus, daemon: Served) -> None:
    with Client() as client:
        client.resume("e\x1b[31m\udcff")
    assert daemon.controller.asked == [("resume", "e\x1b[31m\udcff")]


def test_errors_keep_their_class_and_sentence(bus: PrivateBus, daemon: Served) -> None:
    error = call(bus, "Pause", "enp0s3")[1]
    assert "GDBus.Error:org.netuned1.Error.Kernel: set channels enp0s3: Invalid" in error
    assert '(EINVAL): "too many"' in error


@pytest.mark.parametrize("method", ["pause", "resume", "reconcile"])
def test_netunedctl_shows_why_the_daemon_refuses(
    bus: PrivateBus, daemon: Served, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def refuse(ifname: str) -> None:
        raise NetunedError(f"all cards are paused, {ifname} among them")

    monkeypatch.setattr(daemon.controller, method, refuse)
    done = bus.ctl("apply" if method == "reconcile" else method, "enp0s3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "netunedctl: all cards are paused, enp0s3 among them\n"


# Rights


ARGUMENTS = {
    **dict.fromkeys(("Reconcile", "Pause", "Resume"), ("enp0s3",)),
    **dict.fromkeys(("Confirm", "Rollback"), ("a1b2c3",)),
    "Try": ("enp0s3", "60"),
    "Restore": ("enp0s3", "rps"),
}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("Try", ("enp0s3", "0")),
        ("Try", ("enp0s3", "3601")),
        ("Confirm", ("",)),
        ("Confirm", ("../x",)),
        ("Rollback", ("a" * 17,)),
        ("Restore", ("enp0s3", "\x1b[31m")),
    ],
)
def test_arguments_are_checked(
    bus: PrivateBus, daemon: Served, method: str, arguments: tuple[str, ...]
) -> None:
    assert "org.freedesktop.DBus.Error.InvalidArgs" in call(bus, method, *arguments)[1]
    assert daemon.controller.asked == []


def test_without_polkit_only_root_may_change_anything(bus: PrivateBus, daemon: Served) -> None:
    for method, action in wire.ACTIONS.items():
        arguments = ARGUMENTS.get(method, ())
        answer, error = call(bus, method, *arguments, uid=NOBODY)
        if action:
            assert f"AccessDenied: {method} needs root or the polkit action {action}" in error
        else:
            assert answer
    assert daemon.controller.asked == []


def test_callers_at_the_same_time_are_not_confused(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.pass_s = 0.2
    words = ["busctl", "call", wire.SERVICE, wire.ROOT, wire.MANAGER, "Reconcile", "s", ""]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", *words]
    callers = [
        subprocess.Popen(command, env=bus.environment, stderr=subprocess.DEVNULL)
        for command in (words, as_nobody) * 8
    ]
    statuses = [caller.wait(10) for caller in callers]
    assert [status == 0 for status in statuses] == [True, False] * 8
    assert daemon.controller.asked == [("reconcile", "")] * 8


def test_everybody_may_read(bus: PrivateBus, daemon: Served) -> None:
    done = bus.ctl("status", "--json", uid=NOBODY)
    assert json.loads(done.stdout)["nics"][0]["name"] == "enp129s0"


def test_netunedctl_says_which_action_is_needed(bus: PrivateBus, daemon: Served) -> None:
    done = bus.ctl("reload", uid=NOBODY)
    assert done.returncode == 1
    assert done.stderr == (
        "netunedctl: reload needs root or the polkit action org.netuned1.reload\n"
    )
    done = bus.ctl("apply", uid=NOBODY)
    assert done.stderr == (
        "netunedctl: apply needs root or the polkit action org.netuned1.reconcile\n"
    )
    done = bus.ctl("apply", "--confirm", "60s", uid=NOBODY)
    assert done.stderr == (
        "netunedctl: apply --confirm needs root or the polkit action org.netuned1.try\n"
    )


def test_the_log_has_who_asks_for_what(
    bus: PrivateBus, daemon: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked = ("apply", "restore enp0s3 rps", "reload", "rollback", "apply --confirm 60s enp0s3")
    for words in asked:
        caplog.clear()
        bus.run(sys.executable, "-m", "netuned.cli", *words.split())
        (message,) = caplog.messages
        pid = vars(caplog.records[0])["caller_pid"]
        assert message.startswith(f"Asked for by root, pid {pid} (")
        assert message.endswith(f" {words}): {words}"), message
    caplog.clear()
    for command, name in (("pause", "enp0s3"), ("apply", "eth7"), ("status", "enp0s3")):
        bus.ctl(command, name)
    assert not caplog.messages, "what is refused, and what only looks"


def test_every_method_that_changes_something_is_in_the_log(
    bus: PrivateBus, daemon: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    daemon.controller.refuses_to_pause = False
    with Client() as client:
        client.plan()
        client.reload()
        client.reconcile("enp0s3")
        client.pause()
        client.resume()
        client.begin_trial("", 60)
        client.confirm("a1b2c3")
        client.roll_back("a1b2c3")
        client.restore("enp0s3", "rps")
    causes = [vars(record)["cause"] for record in caplog.records]
    assert causes == [
        *("reload", "apply", "pause", "resume", "apply --confirm 60s"),
        *("confirm a1b2c3", "rollback a1b2c3", "restore"),
    ]
    assert len(causes) == sum(map(bool, wire.ACTIONS.values()))


def test_polkit_decides_about_others(
    bus: PrivateBus, daemon: Served, skip: Skip, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    if not os.path.exists(POLKITD):
        skip("needs polkitd: apt install polkitd")
    rules = """polkit.addRule(function(action, subject) {
        if (action.id == "org.netuned1.reload" && subject.user == "nobody")
            return polkit.Result.YES;
    });"""
    with polkit(bus, rules):
        assert call(bus, "Reload", uid=NOBODY) == ("()", "")
        _, error = call(bus, "Resume", "enp0s3", uid=NOBODY)
        assert "needs root or the polkit action org.netuned1.resume" in error
        assert call(bus, "Resume", "enp0s3")[1] == ""
    assert daemon.controller.asked == [("reload",), ("resume", "enp0s3")]
    others, roots = caplog.messages
    assert re.fullmatch(r"Asked for by uid 65534, pid \d+ \(.*org.netuned1.*\): reload", others)
    assert re.fullmatch(r"Asked for by root, pid \d+ \(.*\): resume enp0s3", roots)


def test_nobody_else_may_own_the_name(bus: PrivateBus) -> None:
    script = (
        "import os, sys; from jeepney import message_bus;"
        "from jeepney.io.blocking import open_dbus_connection; os.setuid(65534);"
        "reply = open_dbus_connection('SYSTEM').send_and_get_reply("
        "message_bus.RequestName('org.netuned1')); print(reply.body)"
    )
    done = bus.run(sys.executable, "-c", script)
    assert "not allowed to own" in done.stdout


# Connections


def test_the_service_comes_back_with_the_bus(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.pass_s = 0.3
    with subprocess.Popen(
        [sys.executable, "-m", "netuned.cli", "apply"],
        env=bus.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as caller:
        wait_for(lambda: daemon.controller.asked, "the call")
        bus.stop()
        said = caller.communicate(timeout=5)[1]
    assert said.startswith("netunedctl: lost the system bus")
    daemon.publish(EMPTY)
    daemon.do(lambda: daemon.service.drift(2, "irq", "rx-1", "5", "0-7"))
    time.sleep(0.5)  # the call ends with nobody to answer
    bus.start()

    def answer() -> Status | None:
        try:
            with Client() as client:
                return client.status()
        except BusError:
            return None

    wait_for(answer, "the service again")
    assert answer() == EMPTY


def test_a_second_service_is_refused(bus: PrivateBus, daemon: Served) -> None:
    second = BusService(daemon.controller, bus.address)
    with pytest.raises(BusError, match="another netuned"):
        daemon.wait(second.connect())


def test_no_bus_is_an_error_of_connect_and_none_of_run() -> None:
    async def check() -> None:
        from tests.netns.bus_fixtures import FakeController

        service = BusService(FakeController(EMPTY), "unix:path=/nonexistent")
        with pytest.raises(BusError, match="cannot connect to the system bus"):
            await service.connect()
        service.publish(STATUS)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.run(), 0.5)

    asyncio.run(check())


# netunedctl


def golden(name: str, text: str) -> None:
    """Compare with a file; NETUNED_WRITE_GOLDEN=1 writes it, to be read before it is committed."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("NETUNED_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    "words", ["status", "status enp129s0", "status enp0s3", "plan", "profiles"]
)
def test_output_is_golden(bus: PrivateBus, daemon: Served, words: str) -> None:
    daemon.controller.planned = PLAN
    done = bus.ctl(*words.split())
    assert (done.returncode, done.stderr) == (0, "")
    golden(words.replace(" ", "-"), done.stdout)


def test_apply_shows_what_it_did_and_what_it_could_not(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.planned = PLAN
    done = bus.ctl("apply")
    assert done.returncode == 1
    golden("apply", done.stdout)
    daemon.controller.planned = replace(PLAN, problems=())
    assert bus.ctl("apply").returncode == 0
    done = bus.ctl("apply")
    assert done.stdout.startswith("Nothing would be changed, and not all is as the profiles say.")
    daemon.publish(CALM)
    assert bus.ctl("apply").stdout.startswith("Nothing to do: every card")
    said = bus.ctl("apply", "enp129s0").stdout
    assert said.startswith("Nothing to do: enp129s0 is as its profile")


def test_what_is_withheld_is_shown_and_pends(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.planned = Plan((), (), PLAN.changes[:1])
    done = bus.ctl("plan", "--exit-code")
    assert done.returncode == 3
    golden("plan-withheld", done.stdout)
    (withheld,) = json.loads(bus.ctl("plan", "--json").stdout)["withheld"]
    assert (withheld["before_value"], withheld["after_value"]) == ({"combined": 2}, {"combined": 4})
    assert withheld["why_withheld"] == "policy.disruptive is deny, and it drops the link"


def test_empty_states_say_what_to_do(bus: PrivateBus) -> None:
    with served(bus, EMPTY):
        golden("status-empty", bus.ctl("status").stdout)
        golden("profiles-empty", bus.ctl("profiles").stdout)
        golden("plan-empty", bus.ctl("plan").stdout)


def test_exit_status_tells_drift_from_failure(bus: PrivateBus, daemon: Served) -> None:
    def status(*words: str) -> int:
        return bus.ctl(*words).returncode

    assert status("status", "--exit-code") == 3
    assert status("status", "enp129s0", "--exit-code") == 0
    assert status("status", "enp0s3", "--exit-code") == 3
    assert status("status", "eth7") == 1
    assert status("status", "enp0s5", "--exit-code") == 3
    assert status("plan", "--exit-code") == 3
    daemon.controller.planned = replace(PLAN, problems=())
    assert status("plan", "--exit-code") == 3
    daemon.controller.planned = PLAN
    assert status("plan", "--exit-code") == 1
    daemon.publish(CALM)
    assert status("status", "--exit-code") == 0
    daemon.controller.planned = Plan(())
    assert status("plan", "--exit-code") == 0
    assert status("status", "--nonsense") == 2
    assert status("nonsense") == 2
    assert status() == 0, "it is the status"


def test_json_is_the_documented_form(bus: PrivateBus, daemon: Served) -> None:
    daemon.controller.planned = PLAN

    def printed(*words: str) -> Any:
        return json.loads(bus.ctl(*words, "--json").stdout)

    status = printed("status")
    assert status["manager"] == json.loads(json.dumps(asdict(MANAGER)))
    assert printed("status", "enp129s0") == status["nics"][0] == json.loads(json.dumps(asdict(IGB)))
    plan = printed("plan")
    assert plan["changes"][3] == {
        "ifname": "enp0s3",
        "tunable": "irq",
        "key": "rx-2",
        "before": None,
        "after": "6",
        "before_value": None,
        "after_value": [6],
        "why": "one CPU per queue of 4-7; card on no node",
        "disruptive": False,
    }
    assert plan["problems"][0]["ifname"] == "ens4"
    assert plan["changes"][0]["before_value"] == {"combined": 2}
    assert plan["withheld"] == []
    assert set(printed("profiles")) == {"profiles", "errors", "conflicts"}
    reloaded = printed("reload")
    keys = ("profiles", "profile_errors", "problems", "pending_confirm")
    assert reloaded == {key: status["manager"][key] for key in keys}
    assert reloaded["profiles"] == printed("profiles")["profiles"]
    assert daemon.controller.asked == [("reload",)]
    applied = printed("apply")
    assert len(applied["applied"]) == len(plan["changes"]) == len(PLAN.changes)
    assert (applied["pending"], applied["problems"]) == ([], plan["problems"])


def test_nothing_starts_the_daemon(bus: PrivateBus) -> None:
    """Not even where an earlier version left the file by which D-Bus would."""
    marker = bus.folder / "started"
    service = bus.folder / "services" / "org.netuned1.service"
    program = f'/bin/sh -c "touch {marker}; exit 1"'
    service.write_text(f"[D-BUS Service]\nName=org.netuned1\nUser=root\nExec={program}\n")
    absent = "netuned is not running, or only just starting: systemctl start netuned"
    try:
        with bus.connect() as connection:
            from jeepney import message_bus

            connection.send_and_get_reply(message_bus.ReloadConfig(), timeout=5)
        for look in ("status", "plan"):
            assert absent in " ".join(bus.ctl(look, uid=NOBODY).stdout.split())
        done = bus.ctl("apply")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"netunedctl: {absent}\n"
        with Client() as client:
            for ask in (
                *(client.status, client.plan, client.reload, client.reconcile, client.pause),
                *(client.resume, client.roll_back, client.restore),
                *(lambda: client.begin_trial("", 60), lambda: client.confirm("a1")),
            ):
                with pytest.raises(AbsentError, match="is not running"):
                    ask()
        assert not marker.exists()
    finally:
        service.unlink()


def test_a_host_without_a_bus_is_looked_at_all_the_same(bus: PrivateBus) -> None:
    environment = {**bus.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-m", "netuned.cli", "status", "--exit-code"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("there is no system bus to reach netuned over: ")
    text = " ".join(done.stdout.split())
    assert "This is what a look at the host without it finds." in text
    assert "Errno" not in done.stdout


def test_a_reader_that_leaves_early_is_no_error(bus: PrivateBus, daemon: Served) -> None:
    script = f"{sys.executable} -m netuned.cli status --json | head -c 1"
    done = bus.run("bash", "-c", script)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize(
    "words", ["status", "status --json", "status enp129s0", "plan", "apply", "profiles", "reload"]
)
def test_output_that_cannot_be_written(bus: PrivateBus, daemon: Served, words: str) -> None:
    full = bus.run("bash", "-c", f"{sys.executable} -m netuned.cli {words} >/dev/full")
    assert full.returncode == 1
    assert full.stderr.endswith("netunedctl: cannot write the output: No space left on device\n")
    assert "Traceback" not in full.stderr
    closed = bus.run("bash", "-c", f"{sys.executable} -m netuned.cli {words} >&-")
    assert closed.returncode == bus.ctl(*words.split()).returncode
    assert "Traceback" not in closed.stderr


def test_a_poor_locale_gets_all_of_the_output(bus: PrivateBus, daemon: Served) -> None:
    whole = bus.ctl("status", "enp0s3").stdout
    poor = ("LC_ALL=POSIX", "PYTHONCOERCECLOCALE=0", "PYTHONUTF8=0")
    for environment in (poor, ("PYTHONIOENCODING=ascii",), ("COLUMNS=²",)):
        command = (sys.executable, "-m", "netuned.cli", "status", "enp0s3")
        done = bus.run("env", *environment, *command)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.replace("\\xd7", "×") == whole


def test_colour_only_on_a_terminal(bus: PrivateBus, daemon: Served) -> None:
    command = f"{sys.executable} -m netuned.cli status enp129s0"
    on_terminal = bus.run("script", "-qec", command, "/dev/null").stdout
    assert "\x1b[32min-sync\x1b[0m" in on_terminal
    plain = bus.run("env", "NO_COLOR=1", "script", "-qec", command, "/dev/null").stdout
    assert "\x1b" not in plain
    assert "\x1b" not in bus.ctl("status").stdout


def test_status_imports_little(bus: PrivateBus, daemon: Served) -> None:
    script = (
        "import sys; from netuned.cli.main import run; run(['status']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    modules = set(bus.run(sys.executable, "-c", script).stderr.split())
    costly = {"rich", "pydantic", "pyroute2", "dbus_fast", "asyncio", "yaml", "json", "shutil"}
    assert not modules & costly


def test_a_card_in_sync_is_in_sync_whatever_it_cannot_do() -> None:
    from netuned.status import card_in_sync

    assert card_in_sync(replace(IGB, state=IN_SYNC))
    assert card_in_sync(UNMANAGED_NIC)


@pytest.mark.parametrize("words", ["status", "status eth0", "profiles", "plan"])
def test_no_text_from_outside_steers_the_terminal(
    bus: PrivateBus, daemon: Served, words: str
) -> None:
    nasty = "x\x1b]0;owned\x07\r\n\x9b31m\u202e\udcff\u2028\u2029\u200b\u061c\u3164"
    settings = (SettingStatus("rps", DRIFTED, nasty, nasty, nasty),)
    nic = replace(
        IGB, name="eth0", driver=nasty, profile=nasty, settings=settings, last_error=nasty
    )
    profile = ProfileStatus(nasty, nasty, nasty, 1, False, (nasty,))
    manager = replace(MANAGER, profiles=(profile,), profile_errors=(nasty,), conflicts=(nasty,))
    daemon.publish(Status(manager, (nic, replace(nic, ifindex=9, name=nasty))))
    daemon.controller.planned = Plan(
        (Change(nasty, nasty, nasty, None, CpuSet(1), nasty),), (Problem(nasty, nasty),)
    )
    done = bus.ctl(*words.split())
    for line in (done.stdout + done.stderr).split("\n"):
        assert line.isprintable(), ascii(line)
        assert not set("\u202e\u2028\u2029\u200b\u061c\u3164") & set(line)
