"""Snapshots: one file with all that netuned and its doctor would read of a host.

No MAC address is in it unless asked for, nor what could tell one; no host name, no RSS
hash key, no IP address but those of flow rules. docs/snapshots.md describes the format.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netuned import __version__, statefile
from netuned.counters.sample import Sample, from_json, to_json
from netuned.errors import KernelError, NetunedError, ProfileError, SnapshotError
from netuned.hardware.host import read_host
from netuned.kernel import Kernel
from netuned.kernel.answers import NOT_HELD, Answers, or_raise
from netuned.kernel.files import FileTree
from netuned.kernel.questions import LINKS
from netuned.kernel.recorded import File, Link, RecordedKernel, Refused, Tree
from netuned.kernel.recording import MAX_FILE, RecordingKernel
from netuned.profiles.searchpath import (
    DEFAULT_DIRECTORIES,
    SUFFIXES,
    Recorded,
    RecordedDirectory,
)
from netuned.profiles.settings import DIRECTORIES, NAME
from netuned.profiles.sysctls import KNOWN, path_of
from netuned.profiles.trust import read_trusted, trusted_directory
from netuned.reconcile.card import Card
from netuned.records import dataclass
from netuned.regex import regex
from netuned.snapshots.archive import MAX_MEMBERS, read_archive, too_large, write_archive
from netuned.text import escape
from netuned.tunables import TUNABLES

FORMAT = 1
MANIFEST = "snapshot.json"
ANSWERS = "answers.json"
COUNTERS = "counters.json"
DOCUMENTS = {MANIFEST: None, ANSWERS: None, COUNTERS: None}
SAMPLES = 2
MAX_VALUES = 1 << 19
"""Of a JSON document, each some 100 bytes in memory; 64 cards of 128 queues have 60,000."""

BASELINE = "/var/lib/netuned/baseline.json"
PLACEMENT = "/run/netuned/placement.json"

_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"
_NET = "/sys/class/net"
GATHERED = (
    *("/proc/interrupts", "/proc/softirqs", "/proc/stat", "/proc/cmdline", "/proc/cpuinfo"),
    *("/proc/net/softnet_stat", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/random/boot_id"),
    *("/proc/sys/net/core/*", *(path_of(key) for key in KNOWN if "*" not in key)),
    "/proc/irq/default_smp_affinity",
    *(f"/proc/irq/*/{name}" for name in ("smp_affinity", "effective_affinity", "node")),
    "/sys/kernel/irq/*/actions",
    *(f"{_CPU}/{name}" for name in ("online", "offline", "possible", "present", "isolated")),
    *(f"{_CPU}/{name}" for name in ("nohz_full", "kernel_max", "smt/active", "smt/control")),
    # All of one CPU, of the others who shares what with them: all of all of them would be half of
    # a snapshot, and as long to read as the rest
    *(f"{_CPU}/cpu0/{name}" for name in ("topology/*", "cache/index*/*")),
    *(f"{_CPU}/cpu*/topology/{name}_cpus_list" for name in ("core", "package")),
    *(f"{_CPU}/cpu*/{name}" for name in ("topology/core_id", "cache/index*/shared_cpu_list")),
    f"{_CPU}/cpu*/online",
    *(f"{_CPU}/cpu*/{name}" for name in ("cpu_capacity", "cpufreq/base_frequency")),
    f"{_CPU}/cpu*/cpufreq/cpuinfo_max_freq",
    *("/sys/devices/cpu_core/cpus", "/sys/devices/cpu_atom/cpus"),
    *(f"{_NODE}/{name}" for name in ("online", "possible", "has_cpu", "has_memory")),
    *(f"{_NODE}/node*/{name}" for name in ("cpulist", "cpumap", "distance", "meminfo")),
    f"{_NODE}/node*/hugepages/*/nr_hugepages",
    *(f"{_NET}/*/{name}" for name in ("statistics/*", "queues/rx-*/rps_flow_cnt")),
    *(f"{_NET}/*/{name}" for name in ("mtu", "operstate", "carrier", "duplex", "tx_queue_len")),
    *(f"{_NET}/*/{name}" for name in ("napi_defer_hard_irqs", "gro_flush_timeout", "threaded")),
    *(f"{_NET}/*/device/{side}_link_{what}" for side in ("current", "max")
      for what in ("speed", "width")),
    *(f"{_NET}/*/device/{name}" for name in ("local_cpulist", "iommu_group/type")),
    *("/proc/sys/net/ipv4/ip_forward", f"{_CPU}/cpu*/cpufreq/scaling_governor"),
    *(f"{_CPU}/cpu0/{name}" for name in ("cpufreq/scaling_driver", "cpuidle/state*/name")),
    *(f"{_CPU}/cpu0/cpuidle/state*/{name}" for name in ("latency", "disable")),
    *(f"{place}/{name}" for place in DIRECTORIES for name in (NAME, f"{NAME}.d/*")),
    *(BASELINE, PLACEMENT),
)  # fmt: skip
"""What is taken besides what netuned's readers ask for; ``*`` is any name."""

ADDRESSES = frozenset(("address", "broadcast", "perm_hwaddr"))
IDENTITIES = frozenset(("netdev_rss_key", "phys_switch_id", "phys_port_id", "serial", "ifalias"))
"""Files never taken: keys, and numbers that are one machine's only."""

_PARAMETER = regex(
    r"(isolcpus|nohz|nohz_full|rcu_nocbs|rcu_nocb_poll|irqaffinity|threadirqs|nosmt|maxcpus|nr_cpus"
    r"|possible_cpus|numa|numa_balancing|kthread_cpus|skew_tick|nosoftlockup|idle|mitigations|tsc"
    r"|pci|iommu|intel_iommu|amd_iommu|intel_pstate|amd_pstate|intel_idle\.\w+|processor\.\w+"
    r"|net\.ifnames|biosdevname|preempt|transparent_hugepage|hugepages|hugepagesz"
    r"|default_hugepagesz|workqueue\.\w+|systemd\.cpu_affinity|cgroup_no_v1)(=.*)?",
)
_MAC = regex(rb"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,}(?![0-9A-Fa-f:-])")
_NO_MAC = b"00:00:00:00:00:00"
_HASH_KEY = regex(
    rb"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{2}(?::[\\\s\"'#]*[0-9A-Fa-f]{2}){23,255}(?![0-9A-Fa-f:])"
)
"""A hash key, over several lines too, as in a comment; what is YAML of a profile has none."""
_NAMED_BY_MAC = regex(r"[a-z]+([0-9a-f]{12})")
"""systemd's names of cards without a better one: enx, wlx."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A host's snapshot in memory. ``left_out`` says what was left out on purpose, and why."""

    kernel: RecordedKernel
    profile_errors: Mapping[str, str]
    left_out: Mapping[str, str]
    taken_at: int
    macs: bool
    samples: tuple[Sample, ...] = ()
    """Two of what it counted, the earlier first, or none."""

    @property
    def unreadable(self) -> dict[str, int]:
        """What was there and could not be read: path -> errno.

        EINVAL is how sysfs says that a card has no such thing, or is down.
        """
        refused = ((p, n) for p, n in self.kernel.tree.walk() if isinstance(n, Refused))
        said = (NOT_HELD, errno.EINVAL, errno.EOPNOTSUPP)
        return {path: node.errno for path, node in refused if node.errno not in said}


def take(
    kernel: Kernel,
    directories: Sequence[str] = DEFAULT_DIRECTORIES,
    *,
    macs: bool = False,
    counted: Sequence[Sample] = (),
) -> Taken:
    """Read a host. ``counted`` are samples that go into the snapshot, too.

    Raises: KernelError when /proc or /sys cannot be read at all.
    """
    recording = RecordingKernel(kernel)
    for nic in read_host(recording).nics.values():
        view = Card(recording, nic).view()
        for tunable in TUNABLES:
            try:
                tunable.limits(view)
                tunable.read(view)
            except NetunedError:  # the answer, recorded as any other
                continue
    for pattern in GATHERED:
        for path in _matching(recording.files, pattern):
            try:
                recording.files.read_long(path, MAX_FILE)
            except KernelError:  # not there, or recorded as what cannot be read
                continue
    errors = _take_profiles(recording.tree, directories)
    left_out = dict.fromkeys(sorted(IDENTITIES), "tells a machine from all others")
    left_out |= _shorten_command_line(recording.tree)
    hiding = _Hiding(recording, macs=macs)
    if not macs:
        left_out["MAC addresses"] = "--macs takes them"
    left_out |= hiding.renamed
    taken = hiding.hidden(recording)
    errors = {path: hiding.text(problem) for path, problem in errors.items()}
    samples = tuple(
        from_json(json.loads(hiding.text(json.dumps(to_json(sample))))) for sample in counted
    )
    return Taken(taken, errors, left_out, int(time.time()), macs, samples)


def write(taken: Taken, path: str, *, force: bool = False) -> None:
    """Write a snapshot as one tar, xz by its name. Raises: SnapshotError."""
    kernel = taken.kernel
    refused = {
        where: [errno.errorcode.get(node.errno, "EIO"), node.mode]
        for where, node in kernel.tree.walk()
        if isinstance(node, Refused)
    }
    manifest = {
        "format": FORMAT,
        "netuned": __version__,
        "kernel": kernel.files.read_text("/proc/sys/kernel/osrelease", ""),
        "taken_at": taken.taken_at,
        "macs": taken.macs,
        "left_out": dict(taken.left_out),
        "profile_errors": dict(taken.profile_errors),
        "refused": refused,
    }
    documents = {
        MANIFEST: json.dumps(manifest, indent=1).encode(),
        ANSWERS: json.dumps(kernel.answers.to_json(), separators=(",", ":")).encode(),
    }
    if taken.samples:
        counted = {"samples": [*map(to_json, taken.samples)]}
        documents[COUNTERS] = json.dumps(counted, separators=(",", ":")).encode()
    if any(_values(document) > MAX_VALUES for document in documents.values()):
        raise too_large(path)
    write_archive(path, documents, kernel.tree, taken.taken_at, force=force)


def read(path: str) -> Taken:
    """The snapshot in a file. Raises: SnapshotError, with the file's name and the member's."""
    documents, tree = read_archive(path, DOCUMENTS)
    manifest = _document(path, MANIFEST, documents)
    found = manifest.get("format")
    if found != FORMAT:
        problem = f"its format is {found!r}, this netuned reads {FORMAT}"
        raise SnapshotError(f"{path}: {MANIFEST}: {problem}")
    try:
        answers = Answers.from_json(_document(path, ANSWERS, documents))
    except (ValueError, TypeError, RecursionError) as error:
        raise SnapshotError(f"{path}: {ANSWERS}: {error}") from None
    samples = _samples(path, documents) if COUNTERS in documents else ()
    try:
        _add_refused(tree, manifest)
        return Taken(
            RecordedKernel(tree, answers, macs=manifest.get("macs") is True),
            _texts(manifest, "profile_errors"),
            _texts(manifest, "left_out"),
            _whole(manifest, "taken_at"),
            manifest.get("macs") is True,
            samples,
        )
    except (ValueError, KernelError) as error:
        raise SnapshotError(f"{path}: {MANIFEST}: {error}") from None


def recorded_profiles(taken: Taken, directories: Sequence[str] = DEFAULT_DIRECTORIES) -> Recorded:
    """The profile directories of a snapshot, as the loader takes them."""
    found: dict[str, RecordedDirectory] = {}
    for directory in directories:
        if problem := taken.profile_errors.get(directory):
            found[directory] = ProfileError(directory, 0, 0, "", problem)
            continue
        names: dict[str, bytes | ProfileError] = {}
        files = taken.kernel.files
        for name in files.listdir(directory) if files.exists(directory) else ():
            where = f"{directory}/{name}"
            if problem := taken.profile_errors.get(where):
                names[name] = ProfileError(where, 0, 0, "", problem)
            else:
                names[name] = files.read_long(where, MAX_FILE)
        found[directory] = names
    return found


def _take_profiles(tree: Tree, directories: Sequence[str]) -> dict[str, str]:
    """Put profiles into the tree; returns why others are not used: path -> problem.

    Files are judged here, for nobody can say later who could have written them. Those that are not
    a profile's YAML may hold a hash key in any form, and are left out. The names are those of the
    search path, whatever links lead there.
    """
    from netuned.profiles.keyless import keyless  # a plan for a snapshot reads no YAML here

    errors = {}
    for directory in directories:
        try:
            with trusted_directory(directory, 0) as descriptor:
                entries = tree.add_directory(directory)
                for name in sorted(os.listdir(descriptor)):
                    if not name.endswith(SUFFIXES) or name.startswith("."):
                        continue
                    path = f"{directory}/{name}"
                    try:
                        content = keyless(read_trusted(path, 0, descriptor) or b"", path)
                        entries[name] = File(content)
                    except FileNotFoundError:
                        if os.path.islink(path):
                            entries[name], errors[path] = Refused(), "there is no such file"
                    except ProfileError as error:
                        place = f"{error.line}:{error.column}: " if error.line else ""
                        entries[name], errors[path] = Refused(), f"{place}{error.problem}"
        except FileNotFoundError:
            continue
        except ProfileError as error:
            errors[directory] = error.problem
    return errors


def _matching(files: FileTree, pattern: str) -> Iterator[str]:
    """The paths that match a pattern, in which ``*`` stands for any part of a name."""
    directory, star, rest = pattern.partition("*")
    if not star:
        yield pattern
        return
    parent, _, prefix = directory.rpartition("/")
    _, _, below = rest.partition("/")
    try:
        names = files.listdir(parent)
    except KernelError:
        return
    for name in names:
        if name.startswith(prefix) and name not in ADDRESSES | IDENTITIES:
            yield from _matching(files, f"{parent}/{name}/{below}" if below else f"{parent}/{name}")


def _shorten_command_line(tree: Tree) -> dict[str, str]:
    """Keep of the kernel's parameters those about CPUs and interrupts; others hold addresses."""
    entries = tree.add_directory("/proc")
    node = entries.get("cmdline")
    if not isinstance(node, File):
        return {}
    words = node.content.decode("utf-8", "surrogateescape").split()
    kept = [word for word in words if _PARAMETER.fullmatch(word)]
    text = f"{' '.join(kept)}\n".encode("utf-8", "surrogateescape")
    entries["cmdline"] = replace(node, content=text)
    if len(kept) == len(words):
        return {}
    why = f"{len(words) - len(kept)} parameters that are not about CPUs, interrupts or memory"
    return {"/proc/cmdline": why}


def _without_secrets(content: bytes) -> bytes:
    """A state file with the digests of hash keys alone; one that is damaged is empty."""
    if b'"secret"' not in content:
        return content
    try:
        version = json.loads(content)["version"]
        known = json.dumps(statefile.decode(version, content))
        return statefile.encode(version, json.loads(known, object_hook=_without_secret))
    except statefile.MALFORMED:
        return b"{}"


def _without_secret(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "secret": ""} if "secret" in data else data


class _Hiding:
    """Takes hash keys and MAC addresses out of names, links, files and answers, in any form."""

    def __init__(self, recording: RecordingKernel, *, macs: bool) -> None:
        self._macs = macs
        self._bare: dict[bytes, bytes] = {}
        self.renamed: dict[str, str] = {}
        if macs:
            return
        try:
            links = recording.dump(LINKS)
        except KernelError:
            links = {}
        for ifindex, link in links.items():
            address = recording.files.read_text(f"{_NET}/{link.name}/address", "")
            names = (link.name, *link.altnames)
            by_mac = [found for found in map(_NAMED_BY_MAC.fullmatch, names) if found]
            for known in (link.mac, address, *(found[1] for found in by_mac)):
                bare = known.replace(":", "").lower()
                if bare.strip("0") and bare.strip("f"):
                    self._bare[bare.encode()] = f"{ifindex:0{len(bare)}x}".encode()
            for found in by_mac:
                self.renamed[f"{found[0][: -len(found[1])]}…"] = (
                    "a card named by its MAC address has its ifindex there instead"
                )

    def bytes(self, data: bytes) -> bytes:
        data = _HASH_KEY.sub(lambda key: b"keep" + b"\n" * key[0].count(b"\n"), data)
        if self._macs:
            return data
        if b":" in data or b"-" in data:
            data = _MAC.sub(_NO_MAC, data)
        for bare, number in self._bare.items():
            data = data.replace(bare, number).replace(bare.upper(), number)
        return data

    def text(self, text: str) -> str:
        raw = text.encode("utf-8", "surrogateescape")
        return self.bytes(raw).decode("utf-8", "surrogateescape")

    def hidden(self, recording: RecordingKernel) -> RecordedKernel:
        """What was recorded, without."""
        tree = Tree()
        for path, node in recording.tree.walk():
            where, name = self.text(path), path.rpartition("/")[2]
            if isinstance(node, dict):
                tree.add_directory(where)
            elif isinstance(node, Link):
                tree.add(where, Link(self.text(node.target)))
            elif name in IDENTITIES or (name in ADDRESSES and not self._macs):
                tree.add(where, Refused(mode=node.mode))
            elif isinstance(node, File):
                content = _without_secrets(node.content) if path == BASELINE else node.content
                tree.add(where, replace(node, content=self.bytes(content)))
            else:
                tree.add(where, node)
        answers = recording.answers
        if not self._macs:
            answers = Answers.from_json(json.loads(self.text(json.dumps(answers.to_json()))))
            links = answers.cards(LINKS)
            links |= {i: replace(or_raise(link), mac="") for i, link in links.items()}
        return RecordedKernel(tree, answers, macs=self._macs)


def _values(document: bytes) -> int:
    """How many values a JSON document has, at most: of empty lists each byte takes twenty."""
    return sum(map(document.count, (b",", b"[", b"{")))


def _document(path: str, name: str, documents: dict[str, bytes]) -> dict[str, Any]:
    if name not in documents:
        raise SnapshotError(f"{path}: {name}: is missing, so this is no snapshot of netuned's")
    if _values(documents[name]) > MAX_VALUES:
        raise SnapshotError(f"{path}: {name}: has more than {MAX_VALUES:,} values")
    try:
        document = json.loads(documents.pop(name))
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{path}: {name}: is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SnapshotError(f"{path}: {name}: is not a JSON object")
    return document


def _samples(path: str, documents: dict[str, bytes]) -> tuple[Sample, ...]:
    """Raises: SnapshotError for what is not two samples, one after the other."""
    data = _document(path, COUNTERS, documents).get("samples")
    if not isinstance(data, list) or len(data) != SAMPLES:
        raise SnapshotError(f"{path}: {COUNTERS}: has not {SAMPLES} samples")
    try:
        before, after = map(from_json, data)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SnapshotError(f"{path}: {COUNTERS}: no sample: {escape(str(error))}") from None
    if before.at >= after.at:
        raise SnapshotError(f"{path}: {COUNTERS}: the second sample is not later than the first")
    return before, after


def _add_refused(tree: Tree, manifest: Mapping[str, Any]) -> None:
    """What the host refused, or what was left out. Raises: ValueError, KernelError."""
    refused = manifest.get("refused", {})
    if not isinstance(refused, dict) or len(refused) > MAX_MEMBERS:
        raise ValueError("refused is not a mapping of paths")
    for path, entry in refused.items():
        match entry:
            case [str(name), int(mode)] if hasattr(errno, name) and name.startswith("E"):
                number = getattr(errno, name)
            case _:
                raise ValueError(f"refused: {path[:60]!r} has no errno and mode")
        parts = path.split("/")[1:]
        if not path.startswith("/") or len(parts) > 64 or {"", ".", ".."} & set(parts):
            raise ValueError(f"refused: {path[:60]!r} is not a path")
        tree.add(path, Refused(number, mode & 0o777))


def _texts(manifest: Mapping[str, Any], name: str) -> dict[str, str]:
    found = manifest.get(name, {})
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ValueError(f"{name} is not a mapping of texts")
    return found


def _whole(manifest: Mapping[str, Any], name: str) -> int:
    value = manifest.get(name)
    if type(value) is not int:
        raise ValueError(f"{name} is not a whole number")
    return value
