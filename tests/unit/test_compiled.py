"""What profiles were compiled to is kept for the next start, and nothing but that is taken."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netuned.cpuset import CpuSet
from netuned.errors import ProfileError
from netuned.profiles import compiled, loader
from netuned.profiles.compiled import Compiled, Kept, key_of
from netuned.profiles.loader import ProfileSet
from netuned.profiles.qdiscs import QDISCS
from netuned.profiles.schema import CLASSES
from netuned.reconcile import loading
from netuned.reconcile.loading import Loading

ME = os.getuid()
ROOT = Path(__file__).parents[2]
CPUS = CpuSet.parse_list("0-7")
SETTINGS = "/etc/netuned/netuned.yaml"
EVERYTHING = """\
match: [{driver: [igb, "!ixgbe"], name: "en*"}, {speed: ">=10G", numa_node: 1}]
cpus: {irq: local & housekeeping}
channels: {combined: auto}
rings: {rx: max 4096, tcp-data-split: on}
coalesce: {adaptive-rx: off, rx-usecs: 50}
offloads: {rx-gro-hw: on, ntuple: on}
link: {gso-max-size: 192K, upper: follow}
rss:
  queues: keep
  weights: equal
  key: "6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4"
  fields: {tcp4: [src, dst], udp4: keep}
  contexts: {app: {queues: "4-7", weights: [1, 2, 3, 4]}}
flows: [{match: {proto: tcp4, dst: 10.0.0.0/8, dport: 443}, to: context app}]
napi: {defer-hard-irqs: 2, gro-flush-timeout: 20us, queues: {"4-7": {threaded: on}}}
irq: {cpus: irq, spread: dedicated, dedicated: 1/8}
rps: {cpus: none}
rfs: {entries: 4096}
xps: {by: rxqs}
bql: {max: 100K}
qdisc: {kind: QDISC}
host: {irqbalance: exclude, sysctl: {net.core.rmem_max: ">=512M"}, yield: net.core.rmem_max,
       hugepages: {2M: {node0: 512}}}
policy: {disruptive: deny}
"""
PARAMETERS = {"fq": ", maxrate: unlimited, buckets: 1024", "cake": ", flow_mode: hosts"}


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    directory = tmp_path / "profiles"
    directory.mkdir(mode=0o755)
    for kind in QDISCS:
        said = f"kind: {kind}{PARAMETERS.get(kind, '')}"
        text = EVERYTHING.replace("kind: QDISC", said)
        write(directory / f"{kind}.yaml", f"priority: 7\n{text}")
    write(directory / "base.yaml", "irq: keep\nqdisc: default\n")
    write(directory / "some.yaml", "extends: base\nhost: keep\nmatch: {name: eth0}\n")
    return directory


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def made(directory: Path) -> Compiled:
    found = loader.load((str(directory),), possible=CPUS, owner=ME)
    assert found.errors == ()
    return Compiled(found.profiles, 60)


def test_what_is_kept_comes_back_as_it_was(profiles: Path, tmp_path: Path) -> None:
    for directory in (profiles, ROOT / "profiles"):
        before = made(directory)
        Kept(tmp_path / "kept").write("key", before)
        after = Kept(tmp_path / "kept").read("key")
        assert after == before
        assert [one.digest for one in after.profiles] == [one.digest for one in before.profiles]
        assert repr(after) == repr(before)
        if directory == profiles:
            text = (tmp_path / "kept").read_text()
            assert [name for name in CLASSES if f'\\"{name}\\"' not in text] == []
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600


def test_a_key_is_of_the_texts_their_places_the_cpus_and_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = {"/etc": {"a.yaml": b"x", "b.yaml": b"y"}, "/run": {}}
    wrong = ProfileError("/etc", 0, 0, "", "cannot be read")
    keys = [
        key_of(texts, {}, CPUS),
        key_of(texts, {SETTINGS: b"confirm_timeout: 1s"}, CPUS),
        key_of(texts, {f"{SETTINGS}.d/a.conf": b"confirm_timeout: 1s"}, CPUS),
        key_of(texts, {}, CpuSet.parse_list("0-3")),
        key_of({"/etc": {"a.yaml": b"x"}, "/run": {"b.yaml": b"y"}}, {}, CPUS),
        key_of({"/etc": {"a.yaml": b"xb.yaml", "b": b"y"}, "/run": {}}, {}, CPUS),
    ]
    monkeypatch.setattr(compiled, "__version__", "another")
    assert key_of(texts, {}, CPUS) == keys[0], "it is another only after a start"
    compiled._code.cache_clear()
    keys.append(key_of(texts, {}, CPUS))
    monkeypatch.setattr(compiled, "__file__", "/nowhere/at/all.py")
    compiled._code.cache_clear()
    keys.append(key_of(texts, {}, CPUS))
    monkeypatch.undo()
    compiled._code.cache_clear()
    assert len({*keys}) == len(keys)
    assert key_of({"/etc": wrong}, {}, CPUS) == ""
    assert key_of({"/etc": {"a.yaml": wrong}}, {}, CPUS) == ""
    assert key_of(texts, {SETTINGS: wrong}, CPUS) == ""


def spoil(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def changed(path: Path) -> None:
        content = json.loads(path.read_bytes())
        change(content)
        path.write_text(json.dumps(content))

    return changed


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"igb", b"ice", 1)),
        lambda path: path.chmod(0o620),
        lambda path: path.chmod(0o602),
        lambda path: (path.unlink(), path.mkdir()),
        pipe,
        spoil(lambda content: content.update(version=0)),
        spoil(lambda content: content.update(profiles=[])),
        spoil(lambda content: content.pop("checksum")),
    ],
)
def test_what_is_not_to_be_trusted_is_not_there(
    harm: Callable[[Path], object], profiles: Path, tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    Kept(path).write("key", made(profiles))
    assert Kept(path).read("another") is None
    assert Kept(path).read("key") is not None
    harm(path)
    assert Kept(path).read("key") is None


def test_only_classes_of_the_schema_are_made(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    monkeypatch.setattr(compiled, "_plain", lambda _: {"": "Popen", "args": "true"})
    Kept(path).write("key", made(profiles))
    assert b"Popen" in path.read_bytes()
    assert Kept(path).read("key") is None


def test_where_nothing_can_be_kept_nothing_is_wrong(profiles: Path) -> None:
    kept = Kept(Path("/proc/nowhere/kept"))
    kept.write("key", made(profiles))
    assert kept.read("key") is None
    Kept(None).write("key", made(profiles))
    assert Kept(None).read("key") is None


def load_twice(
    profiles: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Loading, Loading]:
    """Two starts of the daemon, the second of which may compile nothing."""
    monkeypatch.setattr(loading, "KEEP_AFTER_S", 0)
    places = ((str(profiles),), str(profiles / "netuned.conf"))
    starts = []

    async def start() -> None:
        new = Loading(*places, lambda: CPUS, lambda: None, owner=ME, kept_at=path)
        await new.load()
        starts.append(new)
        await asyncio.sleep(0.05)
        new._thread.shutdown()

    for _ in range(2):
        asyncio.run(start())
    first, second = starts
    return first, second


def test_the_second_start_compiles_nothing(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def load(*arguments: Any, **named: Any) -> ProfileSet:
        calls.append(arguments)
        return loader.load(*arguments, **named)

    monkeypatch.setattr(loading, "load", load)
    first, second = load_twice(profiles, tmp_path / "kept", monkeypatch)
    assert len(calls) == 1
    assert first.profiles == second.profiles
    assert len(second.profiles.profiles) == 9


def test_what_is_the_same_is_not_compiled_again(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload, or a file that was touched, needs nothing that compiles."""
    _, second = load_twice(profiles, tmp_path / "kept", monkeypatch)
    before = second.profiles
    second._thread = ThreadPoolExecutor(1)
    (profiles / "base.yaml").touch()
    asyncio.run(second.load())
    assert second.profiles is before
    write(profiles / "base.yaml", "irq: keep\npriority: 3\n")
    asyncio.run(second.load())
    assert second.profiles != before
    second.close()


def test_what_has_a_mistake_is_compiled_at_each_start(
    profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(profiles / "wrong.yaml", "irqs: 1\n")
    first, second = load_twice(profiles, tmp_path / "kept", monkeypatch)
    assert not (tmp_path / "kept").exists()
    assert first.profiles.messages == second.profiles.messages != ()


def test_what_was_compiled_is_had_without_pydantic_and_pyyaml(
    profiles: Path, tmp_path: Path
) -> None:
    Kept(tmp_path / "kept").write("key", made(profiles))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import netuned.daemon\n"
        "from netuned.profiles.compiled import Kept\n"
        f"assert len(Kept(Path({str(tmp_path / 'kept')!r})).read('key').profiles) == 9\n"
        "print(sorted({'pydantic', 'pydantic_core', 'yaml'} & sys.modules.keys()))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"
