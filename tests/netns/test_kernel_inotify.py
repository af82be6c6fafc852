"""Inotify on ordinary directories and the kernel's own."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.kernel.inotify import (
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
)
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.netns


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()


def test_a_directory_of_profiles(tmp_path: Path, inotify: Inotify) -> None:
    wd = inotify.add(str(tmp_path), IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)
    assert inotify.read() == []
    (tmp_path / "a.yaml").write_text("name: a\n")
    (tmp_path / "a.yaml").rename(tmp_path / "ü b.yaml")
    (tmp_path / "ü b.yaml").unlink()
    assert select.select([inotify], [], [], 0)[0] == [inotify]
    assert inotify.read() == [
        Event(wd, IN_CLOSE_WRITE, "a.yaml"),
        Event(wd, IN_MOVED_FROM, "a.yaml"),
        Event(wd, IN_MOVED_TO, "ü b.yaml"),
        Event(wd, IN_DELETE, "ü b.yaml"),
    ]


def test_names_that_are_not_text_survive(tmp_path: Path, inotify: Inotify) -> None:
    inotify.add(str(tmp_path), IN_CREATE)
    raw = os.fsencode(tmp_path) + b"/\xff\n"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    (event,) = inotify.read()
    assert os.fsencode(event.name) == b"\xff\n"


def test_a_removed_watch_says_so_and_is_gone(tmp_path: Path, inotify: Inotify) -> None:
    wd = inotify.add(str(tmp_path), IN_CREATE)
    inotify.remove(wd)
    (tmp_path / "x").touch()
    assert inotify.read() == [Event(wd, IN_IGNORED, "")]
    with pytest.raises(OSError, match="watch") as missing:
        inotify.remove(wd)
    assert missing.value.errno == errno.EINVAL


def test_a_path_that_is_not_there(inotify: Inotify) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        inotify.add("/nowhere", IN_CREATE)


def test_lost_events_are_an_event(tmp_path: Path, inotify: Inotify) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    inotify.add(str(tmp_path), IN_MODIFY)
    files = [os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY) for name in "ab"]
    for number in range(limit + 2):
        os.write(files[number % 2], b"x")
    for file in files:
        os.close(file)
    events: list[Event] = []
    while more := inotify.read():
        events += more
    assert (events[-1].wd, events[-1].mask) == (-1, IN_Q_OVERFLOW)
    assert len(events) == limit + 1


@pytest.mark.parametrize("name", ["rx-0/rps_cpus", "tx-0/xps_cpus"])
def test_the_kernels_own_files(netns: Namespace, inotify: Inotify, name: str) -> None:
    netns.veth(queues=2)
    directory, _, file = f"/sys/class/net/v0/queues/{name}".rpartition("/")
    wd = inotify.add(directory, IN_MODIFY)
    Path(directory, file).read_text()
    assert inotify.read() == []
    Path(directory, file).write_text("1")
    assert inotify.read() == [Event(wd, IN_MODIFY, file)]


def test_interrupt_affinity(netns: Namespace, inotify: Inotify) -> None:
    for irq in Path("/proc/irq").iterdir():
        file = irq / "smp_affinity_list"
        try:
            held = os.open(irq, os.O_RDONLY | os.O_DIRECTORY)
        except NotADirectoryError:
            continue
        wd = inotify.add(f"/proc/self/fd/{held}", IN_MODIFY)
        try:
            file.write_text(file.read_text())
        except OSError:  # managed by the kernel
            continue
        finally:
            os.close(held)
        assert Event(wd, IN_MODIFY, "smp_affinity_list") in inotify.read()
        return
    pytest.fail("no interrupt's affinity can be written here")
