"""Snapshots: what goes in comes out, and an archive that an enemy made is refused in a sentence."""

from __future__ import annotations

import errno
import gzip
import io
import json
import lzma
import os
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netuned.counters.sample import CardSample, Sample, to_json
from netuned.cpuset import CpuSet
from netuned.errors import KernelError, NetunedError, SnapshotError, UnsupportedError
from netuned.hardware.facts import read_nic
from netuned.hardware.host import read_host
from netuned.hardware.topology import read_topology
from netuned.kernel.answers import Answers
from netuned.kernel.files import KeptFiles
from netuned.kernel.irqbalance import Unknown
from netuned.kernel.once import Once
from netuned.kernel.questions import (
    CHANNELS,
    COALESCE,
    LINKS,
    NAPI_INTERRUPTS,
    QDISCS,
    QUESTIONS,
    RINGS,
    RSS_TABLE,
    Question,
)
from netuned.kernel.recorded import (
    File,
    Link,
    RecordedFiles,
    RecordedKernel,
    Refused,
    Tree,
)
from netuned.kernel.recording import RecordingKernel
from netuned.profiles.loader import ProfileSet
from netuned.reconcile.baseline import Baseline
from netuned.snapshots import archive, offline, snapshot
from netuned.snapshots.described import machine
from netuned.values import Balancer, Exclusion

MACHINE = """\
nodes: 2
cores: 4
threads: 2
offline: 3
cards:
  - {name: eth0, driver: ice, node: 1, queues: 4, irqs: 0-1, mac: "5e:a1:de:ad:be:ef"}
  - {name: enx5ea1deadbef0, driver: igb, mac: "5e:a1:de:ad:be:f0"}
  - {name: v0, driver: virtio_net}
  - {name: bond0, kind: bond, over: [eth0]}
"""
PROFILE = "match: {driver: ice}\nirq: {cpus: local}\nqdisc: {kind: fq}\n"
MANIFEST = json.dumps({"format": 1, "taken_at": 1, "macs": True}).encode()


def tree_of(**nodes: File | Link | Refused) -> Tree:
    tree = Tree()
    for path, node in nodes.items():
        tree.add(f"/{path.replace('_', '/')}", node)
    return tree


def copied(answers: Answers) -> Answers:
    return Answers.from_json(json.loads(json.dumps(answers.to_json())))


# What is recorded


def test_a_recording_answers_as_the_host_did() -> None:
    asked = machine(MACHINE)
    recording = RecordingKernel(asked)
    host = read_host(recording)
    assert host == read_host(asked)
    assert read_host(RecordedKernel(recording.tree, recording.answers)) == host


def test_a_snapshot_goes_through_a_file(tmp_path: Path) -> None:
    asked = machine(MACHINE)
    for name in ("a.tar", "a.tar.xz"):
        path = str(tmp_path / name)
        snapshot.write(snapshot.take(asked, (), macs=True), path)
        taken = snapshot.read(path)
        assert read_host(taken.kernel) == read_host(asked)
        assert taken.kernel.rtnl.qdiscs() == asked.rtnl.qdiscs()
        assert taken.kernel.macs
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_without_macs_none_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    snapshot.write(snapshot.take(machine(MACHINE), ()), str(path))
    content = path.read_bytes()
    for form in (b"5e:a1:de:ad:be", b"5ea1deadbe"):
        assert form not in content
    names = [nic.name for nic in read_host(snapshot.read(str(path)).kernel).nics.values()]
    assert names == ["eth0", "enx000000000003", "v0", "bond0"]


COUNTED = tuple(
    Sample(at, {0: {"processed": 9}}, {3: CardSample("enx5ea1deadbef0", {"rx_packets": 7})})
    for at in (1.0, 11.0)
)


def test_two_samples_go_through_a_file_without_macs(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    snapshot.write(snapshot.take(machine(MACHINE), (), counted=COUNTED), str(path))
    assert b"5ea1deadbe" not in path.read_bytes()
    kernel, (before, after) = offline.load_counted(str(path))
    assert (before.at, after.at, after.cpus) == (1.0, 11.0, COUNTED[1].cpus)
    name = read_host(kernel).nics[3].name
    assert after.cards[3] == CardSample(name, {"rx_packets": 7})
    assert offline.load_counted(str(path))[0].files.exists("/proc") is kernel.files.exists("/proc")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[", "is not JSON"),
        (b"{}", "has not 2 samples"),
        (b'{"samples": [1]}', "has not 2 samples"),
        (b'{"samples": [1, 2]}', "no sample: '1' is no mapping"),
        (b'{"samples": [{}, {}]}', "no sample: 'cards'"),
        (json.dumps({"samples": [*map(to_json, reversed(COUNTED))]}).encode(), "is not later"),
        (b'{"samples": [' + b"1," * snapshot.MAX_VALUES + b"1]}", "has more than 524,288 values"),
    ],
)
def test_counts_that_are_none(tmp_path: Path, content: bytes, problem: str) -> None:
    path = str(tmp_path / "a.tar")
    documents = {"snapshot.json": MANIFEST, "answers.json": b"{}", "counters.json": content}
    archive.write_archive(path, documents, Tree(), 1, force=False)
    with pytest.raises(SnapshotError, match=r"counters\.json: ") as caught:
        snapshot.read(path)
    assert problem in str(caught.value)


def test_the_command_line_is_shortened() -> None:
    kernel = machine("cores: 2")
    entries = kernel.tree.add_directory("/proc")
    entries["cmdline"] = File(b"ro isolcpus=1 ip=192.0.2.1::eth0 nohz_full=1 root=UUID=1\n")
    taken = snapshot.take(kernel, ())
    assert taken.kernel.files.read("/proc/cmdline") == b"isolcpus=1 nohz_full=1\n"
    assert taken.left_out["/proc/cmdline"].startswith("3 parameters")


def test_a_refusal_is_recorded_with_its_errno(tmp_path: Path) -> None:
    kernel = machine(MACHINE)
    where = "/sys/devices/pci0000:00/0000:01:00.0/net/eth0/queues/rx-0"
    kernel.tree.add_directory(where)["rps_cpus"] = Refused(errno.EACCES, 0o600)
    path = str(tmp_path / "a.tar")
    taken = snapshot.take(kernel, ())
    assert taken.unreadable == {f"{where}/rps_cpus": errno.EACCES}
    snapshot.write(taken, path)
    files = snapshot.read(path).kernel.files
    with pytest.raises(KernelError) as caught:
        files.read("/sys/class/net/eth0/queues/rx-0/rps_cpus")
    assert caught.value.errno == errno.EACCES
    assert files.exists(f"{where}/rps_cpus")
    assert files.mode(f"{where}/rps_cpus") & 0o777 == 0o600


def test_modes_are_kept(tmp_path: Path) -> None:
    kernel = machine(MACHINE)
    entries = kernel.tree.add_directory("/proc/irq/65")
    entries["smp_affinity"] = File(b"1\n", 0o444)
    path = str(tmp_path / "a.tar")
    snapshot.write(snapshot.take(kernel, ()), path)
    assert read_host(snapshot.read(path).kernel).nics[2].managed == frozenset({65})


# What is answered


def test_links_stay_in_the_tree() -> None:
    tree = tree_of(
        a_file=File(b"text"),
        a_up=Link("../a/file"),
        b=Link("/a"),
        round=Link("circle"),
        circle=Link("round"),
        dangling=Link("nowhere"),
        far=Link("../../../a/file"),
    )
    files = RecordedFiles(tree)
    assert files.read("/b/up") == b"text"
    assert files.read("/far") == b"text"  # as ../ of / is / itself
    assert files.resolve("/b/up") == "/a/file"
    assert files.readlink("/b") == "/a"
    assert files.listdir("/b") == ["file", "up"]
    assert not files.exists("/dangling")
    for path, number in (
        ("/round", errno.ELOOP),
        ("/dangling", errno.ENOENT),
        ("/a", errno.EISDIR),
        ("/a/file/below", errno.ENOTDIR),
        ("/etc/passwd", errno.ENOENT),
    ):
        with pytest.raises(KernelError) as caught:
            files.read(path)
        assert caught.value.errno == number, path


def test_what_is_not_held_is_an_error() -> None:
    kernel = RecordedKernel(Tree(), Answers())
    kept = KeptFiles(kernel.files)
    questions: tuple[Callable[[], object], ...] = (
        lambda: kernel.files.listdir("/sys/class/net"),
        lambda: kept.sweep(("/proc/irq/1/smp_affinity",), tuple),
        lambda: kernel.ethtool.channels(2),
        lambda: kernel.netdev.napi_interrupts(2),
        lambda: kernel.card_name(2),
    )
    for question in questions:
        with pytest.raises(KernelError):
            question()


def test_answers_survive_json() -> None:
    answers = machine(MACHINE).answers
    answers.cards(RSS_TABLE)[2] = KernelError("get", "rss of ifindex 2", errno.EBUSY, "not now")
    answers.cards(NAPI_INTERRUPTS)[3] = {("rx", 0): 70, ("tx", 0): 71}
    assert copied(answers) == answers
    gone = Answers()
    gone.put_all(QDISCS, KernelError("list", "qdiscs", errno.EPERM))
    gone.put_all(LINKS, UnsupportedError("links", "none here"))
    assert copied(gone) == gone


def test_answers_of_an_older_version_are_read() -> None:
    older = {
        "cards": {
            "2": {
                "driver_info": {"driver": "ice", "bus_info": "0000:01:00.0", "version": ""},
                "channels": {"unsupported": ["channels", "the driver has no such operation"]},
                "rss_table": [0, 1],
                "rx_rings": 2,
                "napi_interrupts": {"rx-0": 70, "tx-0": 71},
                "a later question": 1,
            }
        },
        "links": {"error": ["list", "links", errno.EPERM, ""]},
        "qdiscs": {"2": [["fq", 1 << 16, 0xFFFFFFFF, 0], ["mq", 0, 1, 1]], "3": []},
        "qdisc_parameters": [{"limit": 7}, {}],
        "later": [],
    }
    answers = Answers.from_json(older)
    assert answers.get(RSS_TABLE, 2) == (0, 1)
    assert answers.get(NAPI_INTERRUPTS, 2) == {("rx", 0): 70, ("tx", 0): 71}
    assert answers.get(QDISCS, 2)[0].parameters == {"limit": 7}
    assert (answers.get(QDISCS, 3), answers.get(QDISCS, 4)) == ((), ())
    with pytest.raises(UnsupportedError):
        answers.get(CHANNELS, 2)
    with pytest.raises(KernelError, match="EPERM"):
        answers.dump(LINKS)
    for ask in (answers.dump, lambda question: answers.get(question, 2)):
        with pytest.raises(KernelError) as caught:
            ask(RINGS)
        assert caught.value.errno == errno.ENODATA
    kept = copied(answers).to_json()
    assert {key: kept[key] for key in ("links", "qdiscs", "qdisc_parameters")} == {
        key: older[key] for key in ("links", "qdiscs", "qdisc_parameters")
    }


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question.name))
def test_an_answer_that_is_none_is_refused_with_its_key(question: Question[Any]) -> None:
    for wrong in ("text", [["x"]], {"rx-0": "x"}, {"rx": None}, {"up": [1]}, 1.5, None):
        card = {question.name: wrong}
        document = {"cards": {"7": card}} if question.ask else {question.name: {"7": wrong}}
        with pytest.raises(ValueError, match=question.name):
            Answers.from_json(document)


def test_one_pass_asks_all_cards_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine(MACHINE)
    kernel.answers.put_all(COALESCE, {2: {"rx-usecs": 3}})
    asked: list[str] = []

    def listening(way: str) -> Callable[..., object]:
        ask: Callable[..., object] = getattr(kernel, way)

        def asking(*given: object) -> object:
            asked.append(way)
            return ask(*given)

        return asking

    for way in ("get", "dump"):
        monkeypatch.setattr(kernel, way, listening(way))
    once = Once(kernel)
    assert once.get(COALESCE, 2) == {"rx-usecs": 3}
    for card in (3, 4):
        with pytest.raises(UnsupportedError, match="coalesce"):
            once.get(COALESCE, card)
    assert asked == ["dump"]
    kernel.answers.cards(COALESCE)[3] = KernelError("get", "coalesce", errno.ENODEV)
    once = Once(kernel)
    assert once.get(COALESCE, 2) == {"rx-usecs": 3}, "another card's error is not this one's"
    with pytest.raises(KernelError, match="ENODEV"):
        once.get(COALESCE, 3)
    assert asked == ["dump", "dump", "get", "get"]


# Hostile archives


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, data


def packed(*members: Any, form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for info, data in members:
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


DOCUMENTS = (member("snapshot.json", MANIFEST), member("answers.json", b"{}"))


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(SnapshotError) as caught:
        snapshot.read(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (member("/etc/passwd"), "/etc/passwd: is an absolute name"),
        (member("proc/../../etc/passwd"), "proc/../../etc/passwd: has `..` in its name"),
        (member("a", kind=tarfile.LNKTYPE, target="b"), "a: is a hard link"),
        (member("a", kind=tarfile.CHRTYPE), "a: is a device"),
        (member("a", kind=tarfile.BLKTYPE), "a: is a device"),
        (member("a", kind=tarfile.FIFOTYPE), "a: is a pipe"),
        (member("a", kind=tarfile.GNUTYPE_SPARSE), "a: is of an unknown kind"),
        (member("a", kind=b"Z"), "a: is of an unknown kind"),
        (member("a/b", kind=tarfile.SYMTYPE, target="../../x"), "a/b: is a link that leaves the"),
        (member("a", kind=tarfile.SYMTYPE, target="b/../../x"), "a: is a link that leaves the"),
        (member("a", kind=tarfile.SYMTYPE, target="/../x"), "a: is a link that leaves the"),
        (member("a", kind=tarfile.SYMTYPE), "a: is a link that no host has"),
        (member("a", b"x" * ((4 << 20) + 1)), "a: is larger than 4 MB"),
        (member("/".join("a" * 65)), "has a name that no host has"),
        (member("a\x1b[31m/../b"), "a\\x1b[31m/../b: has `..` in its name"),
        (member("snapshot.json", MANIFEST), "snapshot.json: is there twice"),
    ],
)
def test_members_that_are_refused(tmp_path: Path, bad: Any, problem: str) -> None:
    assert problem in refusal(tmp_path, packed(*DOCUMENTS, bad))


@settings(max_examples=40, deadline=None)
@given(
    name=st.text(
        st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=150
    ),
    size=st.integers(0, 1 << 40),
    kind=st.sampled_from(
        [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, b"L"]
    ),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
    changed=st.integers(0, 147) | st.integers(156, 511),
)
def test_headers_are_read_as_tarfile_reads_them(
    name: str, size: int, kind: bytes, form: Any, changed: int
) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode, info.linkname = size, kind, 0o4640, "../x"
    try:
        block = bytearray(info.tobuf(form)[-tarfile.BLOCKSIZE :])
    except ValueError:
        return  # a name or size that the form has no room for
    read, theirs = (parse(bytes(block)) for parse in (archive.parse_header, _by_tarfile))
    assert (read.name.rstrip("/"), *read[1:]) == (theirs.name, *theirs[1:])
    block[changed] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        archive.parse_header(bytes(block))


def _by_tarfile(block: bytes) -> archive.Header:
    info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    name = info.name.rstrip("/")
    return archive.Header(name, info.mode, info.size, info.type, info.linkname)


def test_names_are_there_once(tmp_path: Path) -> None:
    twice = packed(*DOCUMENTS, member("proc/stat", b"1"), member("./proc//stat", b"2"))
    assert refusal(tmp_path, twice) == "proc/stat: is there twice"
    link = member("proc", kind=tarfile.SYMTYPE, target="sys")
    below = packed(*DOCUMENTS, link, member("proc/stat"))
    assert refusal(tmp_path, below) == "proc: is below a file or link"
    both = packed(*DOCUMENTS, member("proc"), member("proc", kind=tarfile.DIRTYPE))
    assert "proc" in refusal(tmp_path, both)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 100)
    many = packed(*(member(f"f{number}") for number in range(101)))
    assert refusal(tmp_path, many) == "has more than 100 members"


@pytest.mark.parametrize("pack", [lzma.LZMAFile, gzip.GzipFile])
def test_a_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[Path, str], Any]
) -> None:
    """Small members, each allowed, that are too much together."""
    monkeypatch.setattr(archive, "MAX_BYTES", 8 << 20)
    path = tmp_path / "bomb"
    with pack(path, "wb") as stream:
        for number in range(9):
            info = tarfile.TarInfo(f"f{number}")
            info.size = 1 << 20
            stream.write(info.tobuf(tarfile.USTAR_FORMAT) + b"\0" * info.size)
    assert path.stat().st_size < 1 << 14
    assert refusal(tmp_path, path.read_bytes()) == "unpacks to more than 8 MB"


def test_memory_is_bounded_whatever_a_header_says(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    tracemalloc.start()
    start = time.monotonic()
    text = refusal(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert time.monotonic() - start < 1
    assert text == "pax: has an extended header larger than 64 KB"


@pytest.mark.parametrize(
    "of", ["directories", "files", "long names", "links", "contents", "refused"]
)
def test_a_tree_takes_no_more_memory_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """Members of a few bytes, each allowed, that take a hundred times that in memory."""
    monkeypatch.setattr(archive, "MAX_MEMORY", 1 << 20)
    deep = [f"{number:x}{'/a' * 40}" for number in range(250)]
    long = [f"{number:x}/\U0001f4a9{'a' * 80}" for number in range(3000)]
    members = {
        "directories": (member(name, kind=tarfile.DIRTYPE) for name in deep),
        "files": (member(name) for name in deep),
        "long names": (member(name, kind=tarfile.DIRTYPE) for name in long),
        "links": (member(f"{at}", kind=tarfile.SYMTYPE, target=long[at]) for at in range(3000)),
        "contents": (member(f"{number}", b"0" * (1 << 10)) for number in range(1000)),
        "refused": (),
    }[of]
    names = deep if of == "refused" else ()
    refused = {f"/{name}": ["EIO", 0] for name in names}
    manifest = {"format": 1, "taken_at": 1, "refused": refused}
    content = packed(member("snapshot.json", json.dumps(manifest).encode()), DOCUMENTS[1], *members)
    tracemalloc.start()
    text = refusal(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    assert "is past 1 MB in memory" in text or "Cannot allocate memory" in text


@pytest.mark.parametrize("unit", [b"[],", b'{"a":0},', b'"",', b"0,"])
@pytest.mark.parametrize("document", ["snapshot.json", "answers.json"])
def test_a_document_has_no_more_values_than_it_may(
    tmp_path: Path, document: str, unit: bytes
) -> None:
    content = b'{"x":[' + unit * snapshot.MAX_VALUES + b'0],"format":1,"taken_at":1}'
    documents = {"snapshot.json": DOCUMENTS[0], "answers.json": DOCUMENTS[1]}
    whole = packed(*{**documents, document: member(document, content)}.values())
    tracemalloc.start()
    assert refusal(tmp_path, whole) == f"{document}: has more than 524,288 values"
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_what_would_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "host.tar"
    taken = snapshot.Taken(machine("cores: 2\ncards: []"), {}, {}, 1, macs=False)
    for module, limit in ((archive, "MAX_MEMORY"), (snapshot, "MAX_VALUES")):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 10)
            with pytest.raises(NetunedError, match="this host is too large for a snapshot"):
                snapshot.write(taken, str(path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is cut off"),
        (packed(), "snapshot.json: is missing"),
        (packed(DOCUMENTS[0]), "answers.json: is missing"),
        (packed(*DOCUMENTS)[:1500], "is cut off"),
        (packed(*DOCUMENTS)[:700], "is cut off"),
        (packed(*DOCUMENTS)[:2048], "is cut off"),
        (b"\xfd7zXZ\0 and no more of it", "cannot be unpacked"),
        (lzma.compress(packed(*DOCUMENTS))[:100], "is cut off"),
        (gzip.compress(packed(*DOCUMENTS), mtime=0)[:40], "is cut off"),
        (packed(*DOCUMENTS)[:512] + b"x" * 1024, "member 2 has no tar header"),
        (packed(member("snapshot.json", b"[]"), DOCUMENTS[1]), "snapshot.json: is not a JSON obj"),
        (packed(member("snapshot.json", b"{"), DOCUMENTS[1]), "snapshot.json: is not JSON"),
        (packed(member("snapshot.json", b"[" * 99999), DOCUMENTS[1]), "snapshot.json: is not JSON"),
        (packed(member("snapshot.json", b'{"format": 2}'), DOCUMENTS[1]), "its format is 2, this"),
        (
            packed(member("snapshot.json", b'{"format": 1}'), DOCUMENTS[1]),
            "taken_at is not a whole",
        ),
        (packed(DOCUMENTS[0], member("answers.json", b"[1]")), "answers.json: is not a JSON obj"),
    ],
)
def test_files_that_are_no_snapshot(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"cards": []}, "cards is not a mapping"),
        ({"cards": {"eth0": {}}}, "'eth0' is not an index"),
        ({"cards": {"2": {"rx_rings": "4"}}}, "2.rx_rings is not a whole number"),
        ({"cards": {"2": {"rx_rings": True}}}, "2.rx_rings is not a whole number"),
        ({"cards": {"2": {"rss_table": [1, "2"]}}}, "2.rss_table is not a whole number"),
        ({"cards": {"2": {"channels": {"rx": 1}}}}, "2.channels.tx is not of type int"),
        ({"cards": {"2": {"driver_info": {"driver": 1}}}}, "2.driver_info.driver is not of type"),
        ({"cards": {"2": {"napi_interrupts": {"xx-1": 1}}}}, "'xx-1' is not a queue"),
        ({"links": {"2": {"name": "eth0"}}}, "links.2.kind is not of type str"),
        ({"qdiscs": {"2": [["mq", 0, 0, 0]]}}, "is not a qdisc"),
        ({"qdiscs": [], "qdisc_parameters": []}, "qdiscs is not a mapping"),
        ({"qdisc_parameters": [{"limit": "x"}]}, "limit is not a whole number"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, answers: object, problem: str) -> None:
    data = json.dumps(answers).encode()
    text = refusal(tmp_path, packed(DOCUMENTS[0], member("answers.json", data)))
    assert text.startswith("answers.json: ")
    assert problem in text


@pytest.mark.parametrize(
    ("refused", "problem"),
    [
        ([], "refused is not a mapping"),
        ({"/a": ["ENOSUCH", 0]}, "'/a' has no errno"),
        ({"/a": ["__name__", 0]}, "'/a' has no errno"),
        ({"a": ["EIO", 0]}, "'a' is not a path"),
        ({"/a/../b": ["EIO", 0]}, "'/a/../b' is not a path"),
        ({"/proc/stat": ["EIO", 0]}, "add /proc/stat: File exists"),
    ],
)
def test_refusals_that_are_none(tmp_path: Path, refused: object, problem: str) -> None:
    manifest = json.dumps({"format": 1, "taken_at": 1, "refused": refused}).encode()
    content = packed(member("snapshot.json", manifest), DOCUMENTS[1], member("proc/stat", b"cpu"))
    text = refusal(tmp_path, content)
    assert text.startswith("snapshot.json: ")
    assert problem in text


def test_pipes_and_directories_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, problem in ((pipe, "is not a regular file"), (tmp_path, "is not a regular file")):
        with pytest.raises(SnapshotError, match=problem):
            offline.load(str(path))


@given(st.binary(max_size=2048))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    whole = packed(*DOCUMENTS, member("proc/stat", b"cpu"))
    stream = whole[: len(content) % len(whole)] + content
    path = f"/dev/shm/netuned-test-{os.getpid()}"
    try:
        Path(path).write_bytes(stream)
        snapshot.read(path)
    except SnapshotError:
        return
    finally:
        Path(path).unlink()


def test_other_tars_of_a_snapshot_are_read(tmp_path: Path) -> None:
    """Packed again by GNU tar or as pax: long names, a leading ./, directories."""
    name = "sys/" + "/".join(["a" * 60] * 4)
    target = "b" * 200
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = packed(
            member("./", kind=tarfile.DIRTYPE),
            *DOCUMENTS,
            member("./sys", kind=tarfile.DIRTYPE),
            member(f"./{name}", b"long"),
            member("sys/link", kind=tarfile.SYMTYPE, target=target),
            form=form,
        )
        path = tmp_path / "a.tgz"
        path.write_bytes(gzip.compress(content))
        files = snapshot.read(str(path)).kernel.files
        assert files.read(f"/{name}") == b"long"
        assert files.readlink("/sys/link") == target


# Plans without the daemon


def test_a_described_machine_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.write_text(MACHINE)
    (tmp_path / "edge.yaml").write_text(PROFILE)
    kernel, profiles = offline.load(str(path), [str(tmp_path)])
    assert not profiles.errors
    plan = offline.plan(kernel, profiles)
    irqs = [change for change in plan.changes if change.tunable == "irq"]
    node = read_topology(kernel.files).nodes[1]
    assert [change.key for change in irqs] == [f"rxtx-{queue}" for queue in range(4)]
    assert all(str(change.before) in ("0", "1") for change in irqs)
    assert all(not change.after - node for change in irqs)  # type: ignore[operator]  # CpuSets


@pytest.mark.parametrize("told", ["exclude", "leave"])
def test_what_an_earlier_daemon_told_irqbalance_is_taken_back(told: str) -> None:
    class Told(Unknown):
        def is_told(self) -> bool:
            return told != "leave"

        def look(self) -> Balancer:
            return Balancer(Exclusion(told), running=True)

    kernel = machine("cores: 2\ncards: [{name: en0, driver: igb}]\n")
    kernel.irqbalance = Told()
    changes = [str(change.after) for change in offline.plan(kernel, ProfileSet()).changes]
    assert changes == ([] if told == "leave" else ["leave"])


def test_what_the_baseline_holds_is_put_back(tmp_path: Path) -> None:
    kernel = machine(MACHINE)
    boot_id = kernel.files.read_text("/proc/sys/kernel/random/boot_id")
    baseline = Baseline(tmp_path / "b.json", boot_id)
    there = replace(read_nic(kernel, 2, "eth0"), instance=1)
    baseline.record(there, {"irq": {"rxtx-0": CpuSet.parse_list("5")}})
    kernel.tree.add(snapshot.BASELINE, File((tmp_path / "b.json").read_bytes()))
    archive_path = str(tmp_path / "a.tar")
    snapshot.write(snapshot.take(kernel, ()), archive_path)
    plan = offline.plan(*offline.load(archive_path))
    assert [(c.ifname, c.tunable, c.key, str(c.after)) for c in plan.changes] == [
        ("eth0", "irq", "rxtx-0", "5")
    ]
    # and so it is when the profile goes, since an empty file of its name is dropped
    directory = tmp_path / "profiles.d"
    directory.mkdir()
    (directory / "edge.yaml").write_text(PROFILE)
    (tmp_path / "edge.yaml").write_text("")
    assert offline.plan(*offline.load(archive_path, [str(directory)])) != plan
    masked = str(tmp_path / "edge.yaml")
    without, drop = offline.load_with([masked], archive_path, [str(directory)])
    assert (drop.refused, drop.void) == ((), ())
    assert offline.plan(without, drop.profiles) == plan
    kernel.tree.add_directory("/var/lib/netuned")["baseline.json"] = File(b"{}")
    problems = [problem.message for problem in offline.plan(kernel, ProfileSet()).problems]
    assert problems == [
        "/var/lib/netuned/baseline.json: not a baseline; what it held cannot be put back"
    ]


def test_neither_a_snapshot_nor_a_description(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"\x7fELF\0\0\0", b""):
        path.write_bytes(content)
        with pytest.raises(SnapshotError, match="is neither a snapshot nor a described machine"):
            offline.load(str(path))
    with pytest.raises(SnapshotError, match="cannot be read: No such file"):
        offline.load(str(tmp_path / "none"))


def test_who_may_not_read_where_queues_are_is_told_that_a_plan_may_move_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = machine("cores: 2\ncards: [{name: en0, driver: ice}]\n", "machine")
    plan = offline.plan(kernel, ProfileSet())
    assert plan.problems == ()

    def refuse(_: object, path: str, limit: int) -> bytes:
        raise KernelError("read", path, errno.EACCES)

    monkeypatch.setattr(type(kernel.files), "read_long", refuse)
    said = [problem.message for problem in offline.plan(kernel, ProfileSet()).problems]
    assert [message.split(": ")[0] for message in said] == [
        "read /var/lib/netuned/baseline.json",
        "read /run/netuned/placement.json",
    ]
