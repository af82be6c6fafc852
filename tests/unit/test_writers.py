"""Naming a writer: from a pid that may end at any moment, and from the kernel's trace."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from netuned.errors import UnsupportedError
from netuned.kernel import writers
from netuned.kernel.writers import Glimpse, OpenTrace, Writer, describe, glimpse, unit_of

GONE = 4194305
"""Past every pid."""


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/irqbalance.service\n", "irqbalance.service"),
        ("0::/system.slice/a.service/payload\n", "a.service"),
        ("0::/user.slice/user-0.slice/session-2.scope\n", "session-2.scope"),
        ("9:name=systemd:/\n8:pids:/\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process(groups: str, unit: str) -> None:
    assert unit_of(groups) == unit


@pytest.mark.parametrize("port", [0, -5, GONE, 0xFFFFF123, pytest.param(os.getpid(), id="own")])
def test_what_is_no_other_process(port: int) -> None:
    assert glimpse(port) is None


def test_a_script_goes_by_its_own_name_and_by_who_started_it(tmp_path: Path) -> None:
    script = tmp_path / "meddle.sh"
    script.write_text("read line\n")
    child = subprocess.Popen(["sh", str(script)], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 10
        while b"meddle" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
        seen = glimpse(child.pid)
        assert seen is not None
        assert (seen.pid, seen.parent) == (child.pid, os.getpid())
        writer = describe(seen)
        assert (writer.command, writer.ended) == ("meddle.sh", False)
        assert f"(pid {os.getpid()})" in writer.parent
    finally:
        child.communicate()
    assert glimpse(child.pid) is None
    assert str(describe(Glimpse(child.pid, "sh"))) == f"sh (pid {child.pid}, ended since)"


def test_any_name_of_a_card_fits_into_a_filter() -> None:
    assert list(writers._spellings('e"*\\0/queues/rx-0/rps_cpus')) == [
        "*/e???0/queues/rx-0/rps_cpus",
        "e???0/queues/rx-0/rps_cpus",
        "queues/rx-0/rps_cpus",
        "rx-0/rps_cpus",
        "rps_cpus",
    ]


def _traced(tmp_path: Path, *lines: str) -> Writer | None:
    trace = OpenTrace(tmp_path)
    instance = tmp_path / "instances" / f"netuned-{os.getpid()}"
    instance.mkdir(parents=True)
    (instance / "trace").write_text("# tracer: nop\n#\n" + "".join(f"{line}\n" for line in lines))
    return trace.writer()


OPENED = "[000] ..... 15951.381865: sys_openat(dfd: 0xffffff9c, filename: 0x55758c016310)"


def test_the_trace_counts_names_and_leaves_netuned_out(tmp_path: Path) -> None:
    own = f"         netuned-99   ( {os.getpid():6}) {OPENED}"
    writer = _traced(
        tmp_path,
        own,
        own,
        own,
        f"      once-1 only-{GONE} ({GONE}) {OPENED}",
        f"    a name-x-{GONE + 1} ({GONE + 2}) {OPENED}",
        f"    a name-x-{GONE + 3} (-------) {OPENED}",
    )
    assert writer == Writer(GONE + 3, "a name-x", ended=True)


def test_an_empty_trace_names_nobody(tmp_path: Path) -> None:
    assert _traced(tmp_path) is None


def test_a_kernel_without_tracing(tmp_path: Path) -> None:
    trace = OpenTrace(tmp_path)
    with pytest.raises(UnsupportedError, match="instances"):
        trace.start(["eth0/queues/rx-0/rps_cpus"])
    assert trace.writer() is None
    trace.close()
