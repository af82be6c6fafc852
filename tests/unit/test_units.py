"""The installed files: how confined the service is, and what irqbalance's policy script answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import NoReturn

import pytest

from netuned.hardware.nic import HOST
from netuned.kernel.files import Files
from netuned.tunables import HOST_TUNABLES, napi

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "units"
SERVICE = UNITS / "netuned.service"


def skip(missing: str) -> NoReturn:
    if os.environ.get("NETUNED_NO_SKIP") == "1":
        pytest.fail(f"no skip allowed: {missing}")
    pytest.skip(missing)


def service() -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # as configparser documents
    parser.read(SERVICE)
    return dict(parser["Service"])


def test_the_service_is_confined() -> None:
    if shutil.which("systemd-analyze") is None:
        skip("needs systemd-analyze: apt install systemd")
    command = ["systemd-analyze", "security", "--offline=true", str(SERVICE)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    score = re.search(r"Overall exposure level for netuned.service: ([\d.]+)", done.stdout)
    assert score is not None, done.stdout
    assert float(score[1]) <= 1.6


@pytest.mark.parametrize("unit", ["netuned-exporter", "netuned-metrics"])
def test_who_tells_prometheus_has_no_rights_and_is_off_unless_enabled(unit: str) -> None:
    if shutil.which("systemd-analyze") is None:
        skip("needs systemd-analyze: apt install systemd")
    path = UNITS / f"{unit}.service"
    command = ["systemd-analyze", "security", "--offline=true", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert score is not None, done.stdout
    assert float(score[1]) <= 1.8
    rights = re.findall(r"^CapabilityBoundingSet=(.*)$", path.read_text(), re.MULTILINE)
    assert rights == [{"netuned-exporter": "", "netuned-metrics": "CAP_DAC_OVERRIDE"}[unit]]
    done_to_it = re.findall(r"systemctl (.*) netuned-", (UNITS / "install.mk").read_text())
    assert done_to_it == ["try-restart"], "which starts none that does not run"


def test_what_lets_threads_be_pinned_opens_nothing_else() -> None:
    """And it is where the message says; in the package itself it is in force nowhere."""
    said = (UNITS / "napi-threads.conf").read_text().splitlines()
    opened = [line for line in said if line and not line.startswith("#")]
    right, call = "CapabilityBoundingSet=CAP_SYS_NICE", "SystemCallFilter=sched_setaffinity"
    assert opened == ["[Service]", right, call]
    assert "CAP_SYS_NICE" not in SERVICE.read_text()
    assert "units/napi-threads.conf $(LIB)/" in (UNITS / "install.mk").read_text()
    assert "/usr/lib/netuned/napi-threads.conf && " in napi.ALLOW


def test_the_service_keeps_the_hosts_proc() -> None:
    # In a /proc of its own inotify would not see what others write to /proc/irq. Others' processes
    # are to be seen; of the settings that make one, the host's /proc is bound over what they mount.
    assert not {"ProtectProc", "ProcSubset"} & service().keys()
    assert "/proc" in service()["BindPaths"].split()


def test_affinities_are_written_where_the_unit_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, place = service()["BindPaths"].split()
    assert service()["Environment"] == f"NETUNED_IRQ_DIRECTORY={place.removeprefix('/proc/irq:')}"
    for directory in ("proc/irq/7", "run/irq/7"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "smp_affinity").write_text("f")
    monkeypatch.setenv("NETUNED_IRQ_DIRECTORY", "/run/irq")
    Files(str(tmp_path)).write("/proc/irq/7/smp_affinity", b"1")
    assert (tmp_path / "proc/irq/7/smp_affinity").read_text() == "f"
    assert (tmp_path / "run/irq/7/smp_affinity").read_text() == "1"
    monkeypatch.delenv("NETUNED_IRQ_DIRECTORY")
    Files(str(tmp_path)).write("/proc/irq/7/smp_affinity", b"2")
    assert (tmp_path / "proc/irq/7/smp_affinity").read_text() == "2"


def test_what_is_set_of_the_host_can_be_written_and_little_else() -> None:
    may = re.findall(r"^ReadWritePaths=(.*)$", SERVICE.read_text(), re.MULTILINE)
    writable = {path.removeprefix("-") for line in may for path in line.split()}
    keys = ("sysctl net.ipv4.tcp_rmem", "sysctl vm.swappiness", "hugepages 2M/node0")
    for key in (*keys, "rfs "):
        (tunable,) = [t for t in HOST_TUNABLES if t.name == key.partition(" ")[0]]
        for directory, _ in tunable.marked(HOST, key):
            assert any(f"{directory}/".startswith(f"{path}/") for path in writable), directory
    assert {path for path in writable if path.startswith(("/proc", "/sys/devices/system"))} == {
        *("/proc/sys/net", "/proc/sys/vm"),
        *("/sys/devices/system/node", "/proc/self/attr"),  # the latter to enter AppArmor's profile
    }


def test_nothing_that_can_be_written_can_be_run() -> None:
    found = service()
    # what systemd mounts by itself has no part in the root's
    own = {"/var/lib/netuned", "/run/netuned", "/etc/netuned", "/tmp", "/var/tmp"}
    assert set(found["NoExecPaths"].split()) == {"/"} | own
    run = set(re.findall(r"^ExecPaths=(.*)$", SERVICE.read_text(), re.MULTILINE))
    paths = {path.removeprefix("-") for line in run for path in line.split()}
    for program in (found["ExecStart"], found["ExecReload"]):
        assert any(program.split()[0].startswith(path) for path in paths)
    for path in paths:
        assert re.match(r"/usr/|/lib|/bin/kill$", path), "what root alone installs"


def test_the_profile_that_is_shipped_can_be_entered() -> None:
    named = re.findall(r"^profile (\S+) ", (UNITS / "netuned.apparmor").read_text(), re.MULTILINE)
    assert [service()["AppArmorProfile"]] == [f"-{name}" for name in named]
    # by a write to this file's directory, in a /proc that is read-only but for that
    assert "ReadWritePaths=-/proc/self/attr\n" in SERVICE.read_text()


def test_every_socket_family_in_use_is_allowed() -> None:
    paths = [*(ROOT / "netuned").rglob("*.py")]
    own = [path for path in paths if path.parent.name != "metrics"]  # the exporter's unit has more
    sources = "".join(path.read_text() for path in own)
    used = set(re.findall(r"\bsocket\.(AF_\w+)", sources))
    assert len(own) < len(paths)
    assert used <= set(service()["RestrictAddressFamilies"].split())


def test_the_boot_cannot_wait_in_a_circle() -> None:
    # With cloud-init, sysinit.target is after network-pre.target; so is all that is after it.
    text = SERVICE.read_text()
    assert "DefaultDependencies=no" in text
    (after,) = re.findall(r"^After=(.*)$", text, re.MULTILINE)
    # sys-kernel-tracing.mount waits for nothing, apparmor.service for disks.
    assert set(after.split()) == {
        "local-fs.target",
        "systemd-sysctl.service",
        "sys-kernel-tracing.mount",
        "apparmor.service",
    }


@pytest.mark.parametrize(
    ("device", "answer"),
    [
        ("/sys/bus/pci/devices/0000:81:00.0", (0, "ban=true\n")),
        ("/sys/bus/pci/devices/0000:82:00.1", (0, "ban=true\n")),
        ("/sys/bus/pci/devices/0000:00:03.0", (0, "ban=true\n")),
        ("/sys/bus/pci/devices/10000:e1:00.0", (0, "ban=true\n")),
        ("/sys/bus/pci/devices/0000:81:00.1", (1, "")),
        ("/sys/bus/pci/devices/0000:80:00.0", (1, "")),  # the bridge our card is behind
        ("/sys", (1, "")),  # what irqbalance passes for an interrupt without a device
        ("(null)", (1, "")),
    ],
)
def test_irqbalance_leaves_exactly_our_cards_alone(
    tmp_path: Path, device: str, answer: tuple[int, str]
) -> None:
    (tmp_path / "irqbalance.cards").write_text(
        "/sys/devices/pci0000:80/0000:80:00.0/0000:81:00.0\n"
        "0000:82:00.1\n"
        "/sys/devices/pci0000:00/0000:00:03.0/virtio1\n"
        "/sys/devices/pci10000:e0/10000:e0:01.0/10000:e1:00.0"  # VMD; no newline at the end
    )
    assert policy(tmp_path, device) == answer


def test_without_a_list_irqbalance_balances_everything(tmp_path: Path) -> None:
    assert policy(tmp_path, "/sys/bus/pci/devices/0000:81:00.0") == (1, "")


def policy(runtime_directory: Path, device: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(UNITS / "irqbalance-policy"), device, "42"],
        check=False,
        capture_output=True,
        text=True,
        env={"NETUNED_RUNTIME_DIRECTORY": str(runtime_directory)},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout
