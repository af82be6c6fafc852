"""Reading profiles beside the loop: bounded in what is told, one reading for all who ask."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.profiles import library, loader, reading
from netuned.profiles.library import MAX_HINTS
from netuned.profiles.reading import MOST_AT_ALL
from netuned.profiles.searchpath import MAX_ERRORS, MAX_TOLD
from netuned.reconcile.loading import Loading

ME = os.getuid()
FILES = 60


class Counted:
    """The CPUs of a host; how often they were asked for is how often everything was read."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(self) -> CpuSet:
        self.readings += 1
        return CpuSet.parse_list("0-3")


def loading(tmp_path: Path, counted: Counted) -> Loading:
    return Loading(
        (str(tmp_path),), str(tmp_path / "netuned.conf"), counted, lambda: None, owner=ME
    )


def test_of_many_mistakes_each_file_has_its_first_told(tmp_path: Path) -> None:
    for number in range(FILES):
        wrong = "".join(f"k{key}: 1\n" for key in range(MAX_ERRORS + 10))
        (tmp_path / f"e{number}.yaml").write_text(wrong)
    found = loader.load((str(tmp_path),), owner=ME).errors
    assert len(found) == MAX_TOLD + 1
    assert {error.path for error in found[:-1]} == set(map(str, tmp_path.glob("*.yaml")))
    assert str(found[-1]) == (
        f"{tmp_path}: more mistakes than the {MAX_TOLD} that are listed; "
        "`netunedctl check FILE` lists those of a file"
    )
    dropped = {str(tmp_path / "z.yaml"): b"k: 1\nl: 1\n"}
    refused = loader.load_dropped(dropped, (str(tmp_path),), owner=ME).refused
    assert [str(error.line) for error in refused if error.path in dropped] == ["1", "2"]


def test_names_like_a_missing_one_are_looked_for_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []

    def look(word: object, _: object) -> str:
        looked.append(word)
        return ""

    monkeypatch.setattr(library, "did_you_mean", look)
    for number in range(FILES):
        (tmp_path / f"e{number}.yaml").write_text(f"extends: f{number}\n")
    assert len(loader.load((str(tmp_path),), owner=ME).errors) == FILES
    assert len(looked) == MAX_HINTS


def test_mistakes_take_no_time_of_the_loop(tmp_path: Path) -> None:
    for number in range(FILES):
        wrong = "".join(f"k{key}: 1\n" for key in range(50))
        (tmp_path / f"e{number}.yaml").write_text(wrong)
    profiles = loading(tmp_path, Counted())

    async def twice() -> float:
        await profiles.load()
        (tmp_path / "e0.yaml").write_text("l: 1\n")
        began = time.thread_time()
        await profiles.load()
        return time.thread_time() - began

    assert asyncio.run(twice()) < 0.1  # of processor time: 6 s when the errors were compared there
    profiles.close()


def test_all_who_ask_share_the_next_reading(tmp_path: Path) -> None:
    counted = Counted()
    profiles = loading(tmp_path, counted)

    async def ask() -> None:
        first = asyncio.create_task(profiles.load())
        await asyncio.sleep(0)
        (tmp_path / "a.yaml").write_text("priority: 1\n")
        await asyncio.gather(first, *(profiles.load() for _ in range(50)))

    asyncio.run(ask())
    assert counted.readings <= 2
    assert [loaded.profile.name for loaded in profiles.profiles.profiles] == ["a"]
    profiles.close()


def test_a_file_of_very_many_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("match: [" + "a, " * 9000 + "a]\n")
    sets = "".join(f"  s{number}: s{number + 1}\n" for number in range(4000))
    (tmp_path / "b.yaml").write_text("cpus:\n" + sets)
    first, second = loader.load((str(tmp_path),), owner=ME).messages
    assert first.endswith("match[8190]: a file holds at most 8192 values")
    assert second.endswith("cpus: 4000 sets are defined; at most 64 are allowed")


def test_threads_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the directories themselves do not answer: all is as before, and once they do, new."""
    answer, answered = threading.Event(), threading.Event()

    def read_directory(*_: object) -> dict[str, bytes]:
        answer.wait()
        return {}

    monkeypatch.setattr(reading, "read_directory", read_directory)
    monkeypatch.setattr(reading, "DEADLINE_S", 0.02)
    monkeypatch.setattr(reading, "SLICE_S", 0.01)
    reader = reading.Reader((str(tmp_path),), "", answered.set, owner=ME)
    before = threading.active_count()
    try:
        for _ in range(2):
            (error,) = reader.read(reading.Reading()).directories.values()
            assert str(error) == f"{tmp_path}: not read: {MOST_AT_ALL} other files do not answer"
        assert threading.active_count() <= before + MOST_AT_ALL
    finally:
        answer.set()
    assert answered.wait(10)


def test_what_is_doubtful_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "edge.yaml").write_text('match: {name: "eth0,eth1"}\n')
    (tmp_path / "edge.yaml").chmod(0o644)

    async def load_twice() -> list[str]:
        reader = loading(tmp_path, Counted())
        await reader.load()
        await reader.load()
        reader.close()
        return [loaded.profile.name for loaded in reader.profiles.profiles]

    assert asyncio.run(load_twice()) == ["edge"]
    assert [record.getMessage().partition(": warning: ")[2] for record in caplog.records] == [
        "`eth0,eth1` is one pattern; several are a list: [eth0, eth1]"
    ]


def test_a_reader_that_an_upgrade_took_away_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = loading(tmp_path, Counted())
    (tmp_path / "a.yaml").write_text("match: {name: a}\n")

    async def check() -> None:
        await profiles.load()
        (tmp_path / "b.yaml").write_text("match: {name: b}\n")
        with monkeypatch.context() as upgraded:
            upgraded.setitem(sys.modules, "netuned.profiles.yamlreading", None)
            with pytest.raises(NetunedError, match="systemctl restart netuned"):
                await profiles.load()
        assert [one.profile.name for one in profiles.profiles.profiles] == ["a"]
        await profiles.load()
        assert [one.profile.name for one in profiles.profiles.profiles] == ["a", "b"]

    asyncio.run(check())
    profiles.close()


def test_what_is_fresh_or_was_touched_is_read_once_more_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("match: [{driver: ice}]\n")
    counted = Counted()
    loaded = loading(tmp_path, counted)

    async def check() -> None:
        await loaded.load()
        assert not loaded.look(), "it was fresh, and is the same"
        os.utime(tmp_path / "a.yaml")
        assert not loaded.look()
        (tmp_path / "a.yaml").write_text("match: [{driver: ixgbe}]\n")
        assert loaded.look()
        assert await loaded.differs()

    asyncio.run(check())
    assert counted.readings == 1
    loaded.close()


def test_to_see_that_nothing_changed_takes_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    mounted = [own]
    monkeypatch.setattr(reading, "_mounted", lambda: mounted[0])
    (tmp_path / "a.yaml").write_text("match: [{driver: ice}]\n")
    reader = reading.Reader((str(tmp_path),), str(tmp_path / "conf"), lambda: None, owner=ME)
    last = reader.read(reading.Reading(), content=False)
    monkeypatch.setattr(threading, "Thread", None)
    assert reader.is_same(last)
    mounted[0] += "23 22 0:50 / /elsewhere rw - nfs server:/ rw\n"
    assert reader.is_same(last)
    mounted[0] += f"24 22 0:51 / {tmp_path}/a.yaml rw - nfs server:/ rw\n"
    assert not reader.is_same(last), "nobody knows whether it answers"
    mounted[0] = own
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    assert not reader.is_same(last)


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "autofs", "9p"])
def test_what_a_server_may_not_answer_for_is_looked_at_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(reading, "_mounted", lambda: f"22 1 0:9 / / rw shared:1 - {kind} s:/ rw\n")
    reader = reading.Reader((str(tmp_path),), str(tmp_path / "conf"), lambda: None, owner=ME)
    last = reader.read(reading.Reading(), content=False)
    assert reader.read(last, content=False).met == last.met
    assert not reader.is_same(last)
