"""Programs known to set what a profile in force sets, and what to do.

Named is only what is really in the way: a neighbour that runs, or whose configuration udev applies,
and that names a setting which netuned keeps on a card that its configuration is for.

Source: systemd.link(5), nm-settings-keyfile(5), TuneD's plugin_net.py, plugin_scheduler.py and
plugin_irq.py, google-compute-engine's instance_configs.cfg(5), irqbalance(1).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from netuned.assignments import (
    Assignment,
    bounded,
    disabled,
    dotted,
    globs,
    parse_lines,
    plugins,
    sysctl_lines,
)
from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import PHYSICAL, Nic
from netuned.kernel.files import FileTree
from netuned.kernel.writers import Writer, find
from netuned.planning.planner import Desired
from netuned.profiles.match import selects
from netuned.profiles.sysctls import ALIASES, names_of
from netuned.records import dataclass
from netuned.tunables import BY_NAME, HOST_TUNABLES, TUNABLES
from netuned.tunables.base import Boot, Wanted, Writers
from netuned.values import Sysctl, Value

log = logging.getLogger(__name__)

IRQBALANCE, TUNED, NETWORK_MANAGER = "irqbalance", "tuned", "NetworkManager"
GOOGLE_AGENT, BPFTUNE = "google_guest_agent", "bpftune"
PROGRAMS = (IRQBALANCE, TUNED, NETWORK_MANAGER, GOOGLE_AGENT, BPFTUNE)

LINK_DIRECTORIES = tuple(
    f"{top}/systemd/network" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
)
KEYFILE_DIRECTORIES = tuple(
    f"{top}/NetworkManager/system-connections" for top in ("/etc", "/run", "/usr/lib")
)
TUNED_ACTIVE = "/etc/tuned/active_profile"
TUNED_DIRECTORIES = (
    "/etc/tuned/profiles",
    "/etc/tuned",
    "/usr/lib/tuned/profiles",
    "/usr/lib/tuned",
)
GOOGLE_SCRIPTS = ("/usr/bin/google_set_multiqueue", "/usr/sbin/google_set_multiqueue")
GOOGLE_CONFIG = "/etc/default/instance_configs.cfg"
SYSCTL_DIRECTORIES = tuple(
    f"{top}/sysctl.d" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
)
UNITS = "/run/systemd/units"
"""Changes whenever a unit starts or stops."""

_MARKS = (
    *(UNITS, TUNED_ACTIVE, GOOGLE_CONFIG),
    *(*LINK_DIRECTORIES, *KEYFILE_DIRECTORIES, *SYSCTL_DIRECTORIES),
)

INCLUDES_MOST = 20

Sysctls = Mapping[str, tuple[Value, Callable[[str, Value, str], bool]]]
"""Name -> what profiles want of it, and what tells whether a text says otherwise."""

NOTHING: Mapping[str, Wanted] = {}


@dataclass(frozen=True, slots=True)
class Governed:
    """A card and the tunables that the profile in force on it sets."""

    nic: Nic
    tunables: frozenset[str]

    def sets(self, own: Callable[[Writers], bool]) -> list[str]:
        """Those of them that somebody else sets, too, as they declare."""
        return [t.name for t in TUNABLES if t.name in self.tunables and own(t.writers)]


def governed_by(nics: Iterable[Nic], desired: Desired) -> tuple[Governed, ...]:
    """What profiles in force set, on which cards."""
    return tuple(
        Governed(nic, frozenset(t.name for t in TUNABLES if t.asked(target.profile)))
        for nic in nics
        if (target := desired.targets.get(nic.ifindex)) is not None
        and target.profile.policy.enforce == "yes"
    )


class Neighbours:
    """What is in the way, read again once something about it may have changed."""

    def __init__(self, files: FileTree) -> None:
        self.conflicts: tuple[str, ...] = ()
        self._files = files
        self._read: object = None

    def forget(self) -> None:
        """Read all of it next time."""
        self._read = None

    def differ(
        self,
        kept: tuple[Governed, ...],
        irqbalance: str | None,
        host: Mapping[str, Wanted] = NOTHING,
    ) -> bool:
        """Whether a look would read anything."""
        return self._facts(kept, irqbalance, host) != self._read

    def _facts(
        self, kept: tuple[Governed, ...], irqbalance: str | None, host: Mapping[str, Wanted]
    ) -> object:
        return (kept, irqbalance, host, *map(self._files.changed_ns, _MARKS))

    def look(
        self,
        kept: tuple[Governed, ...],
        irqbalance: str | None,
        host: Mapping[str, Wanted] = NOTHING,
    ) -> tuple[str, ...]:
        """Read what has changed; returns the new sentences."""
        read = self._facts(kept, irqbalance, host)
        if read == self._read:
            return ()
        before, self._read = self.conflicts, read
        try:
            self.conflicts = conflicts(self._files, kept, irqbalance, host)
        except KernelError as error:
            log.warning("Cannot look for neighbours: %s, ignoring", error)
        return tuple(text for text in self.conflicts if text not in before)


def conflicts(
    files: FileTree,
    kept: tuple[Governed, ...],
    irqbalance: str | None,
    host: Mapping[str, Wanted] = NOTHING,
) -> tuple[str, ...]:
    """A sentence for each neighbour that is in the way: which, of what, and what to do.

    ``irqbalance`` is what the profiles have netuned do about it (``exclude``, ``stop``), if so;
    ``host`` what else they want of the host, by tunable.
    """
    if not kept:
        return ()
    sysctls = {
        key: (value, otherwise)
        for tunable in HOST_TUNABLES
        if (otherwise := tunable.writers.sysctl)
        for key, value in host.get(tunable.name, {}).items()
        if not isinstance(value, UnsupportedError | Boot)
    }
    running = find(files, PROGRAMS)
    found = [*_links(files, kept), *_sysctl_files(files, sysctls)]
    if (writer := running.get(IRQBALANCE)) and irqbalance not in ("exclude", "stop"):
        found += _irqbalance(writer, kept)
    if writer := running.get(TUNED):
        found += [*_tuned(files, writer, kept), *_tuned_sysctls(files, writer, sysctls)]
    if writer := running.get(NETWORK_MANAGER):
        found += _network_manager(files, writer, kept)
    if writer := running.get(GOOGLE_AGENT):
        found += _google(files, writer, kept)
    if writer := running.get(BPFTUNE):
        found += [*_bpftune(writer, kept), *_bpftune_sysctls(writer, sysctls)]
    return tuple(found)


# systemd .link files: of those that match a card udev applies the first


def _links(files: FileTree, kept: tuple[Governed, ...]) -> Iterator[str]:
    links = [(path, _read_link(files, path)) for path in _by_name(files, LINK_DIRECTORIES, ".link")]
    for card in kept:
        for path, lines in links:
            if _link_matches(lines, card.nic):
                keys = {line.key for line in lines if line.value}
                ours = {
                    name: BY_NAME[name].writers.link.keys() & keys for name in sorted(card.tunables)
                }
                if names := [name for name, own in ours.items() if own]:
                    yield (
                        f"udev sets {_listed(key for own in ours.values() for key in own)} of "
                        f"{card.nic.name} by {path}, too: take that out there, or have the profile "
                        f"keep {_listed(names)}"
                    )
                break


def _read_link(files: FileTree, path: str) -> tuple[Assignment, ...]:
    name = path.rpartition("/")[2]
    drop_ins = _by_name(files, tuple(f"{d}/{name}.d" for d in LINK_DIRECTORIES), ".conf")
    lines = [_lines(files, one) for one in (path, *drop_ins)]
    return tuple(line for part in lines for line in part if line.section in ("Match", "Link"))


def _link_matches(lines: tuple[Assignment, ...], nic: Nic) -> bool:
    """What cannot be told from the card's facts (``Path=``, ``Property=``) is taken for another."""
    asked = globs(lines, "Match")
    facts = {
        "OriginalName": nic.name,
        "Driver": nic.driver,
        "MACAddress": nic.mac,
        "PermanentMACAddress": nic.mac,
        "Type": "ether",
        "Kind": nic.kind,
    }
    return bool(asked) and all(
        key in facts and selects(tuple(map(str.lower, words)), facts[key].lower())
        for key, words in asked.items()
    )


def _any(patterns: list[str], fact: str) -> bool:
    """A list of globs; one that begins with ! turns the whole list round."""
    inverted = patterns[0].startswith("!")
    words = [patterns[0].removeprefix("!"), *patterns[1:]]
    return inverted != any(fnmatchcase(fact.lower(), word.lower()) for word in words)


# systemd-sysctl: of all files that set a key, in the order of their names, the last one's holds


def _sysctl_files(files: FileTree, wanted: Sysctls) -> Iterator[str]:
    last: dict[str, tuple[str, str]] = {}
    for path in _by_name(files, SYSCTL_DIRECTORIES, ".conf") if wanted else ():
        for _, _, name, text in sysctl_lines(files.read_text(path, "")):
            last |= {
                key: (path, text)
                for key in wanted
                if text and any(fnmatchcase(one, name) for one in names_of(key))
            }
    for key, (path, text) in sorted(last.items()):
        value, otherwise = wanted[key]
        if otherwise(key, value, text):
            yield (
                f"systemd-sysctl sets {key} to {text} by {path}, at each boot and `sysctl "
                f"--system`, and profiles want {value}: take that out there, or have them keep it"
            )


# Programs


def _tuned_sysctls(files: FileTree, writer: Writer, wanted: Sysctls) -> Iterator[str]:
    active = files.read_text(TUNED_ACTIVE, "").split()
    lines = [line for name in active for line in _tuned_profile(files, name)]
    plugin_of, off = plugins(lines), disabled(lines)
    said = {
        ALIASES.get(dotted(k), dotted(k)): v
        for _, section, k, v in lines
        if plugin_of[section] == "sysctl" and section not in off and "${" not in v
    }
    for key in sorted(wanted.keys() & said.keys()):
        value, otherwise = wanted[key]
        bound, limit = bounded(said[key])
        text = limit
        if bound and isinstance(value, Sysctl):
            if value.bound == bound:
                continue  # both hold
            value, text = Sysctl(limit, bound), value.text  # in the way of what is beyond it
        if otherwise(key, value, text):
            yield (
                f"TuneD ({writer.pid_and_unit}) sets {key} to {said[key]} by its profile "
                f"{' '.join(active)}, and profiles want {wanted[key][0]}: take that out "
                "there, or have them keep it"
            )


def _irqbalance(writer: Writer, kept: tuple[Governed, ...]) -> Iterator[str]:
    names = [
        card.nic.name for card in kept if card.sets(lambda w: w.irqbalance) and card.nic.vectors
    ]
    if names:
        yield (
            f"{writer} moves interrupts of {_listed(names)} that profiles place: "
            "`host: {irqbalance: exclude}` in the profile has it leave them alone"
        )


def _tuned(files: FileTree, writer: Writer, kept: tuple[Governed, ...]) -> Iterator[str]:
    active = files.read_text(TUNED_ACTIVE, "").split()
    lines = [line for name in active for line in _tuned_profile(files, name)]
    plugin_of = plugins(lines)
    seen = set()
    for _, section, key, value in lines:
        plugin = plugin_of[section]
        devices = next((v for _, s, k, v in lines if (s, k) == (section, "devices")), "")
        option = f"{plugin}.{key}"
        tunable = next((t.name for t in TUNABLES if option in t.writers.tuned), "")
        names = [
            card.nic.name
            for card in kept
            if tunable in card.tunables
            and value
            and (plugin != "net" or not devices or _devices(devices, card.nic.name))
        ]
        if names and (section, key) not in seen:
            seen.add((section, key))
            yield (
                f"TuneD ({writer.pid_and_unit}) sets {tunable} of {_listed(names)}, too, by {key} "
                f"in [{section}] of its profile {' '.join(active)}: take that out there, or have "
                f"the profile of netuned keep {tunable}"
            )


def _tuned_profile(files: FileTree, name: str) -> list[Assignment]:
    """A profile's lines and those it includes, which come first; what cannot be read is empty."""
    found: list[Assignment] = []
    names, seen = [name], set[str]()
    while names and len(seen) < INCLUDES_MOST:
        name = names.pop()
        if name in seen or "/" in name:
            continue
        seen.add(name)
        paths = (f"{directory}/{name}/tuned.conf" for directory in TUNED_DIRECTORIES)
        lines = _lines(files, next((path for path in paths if files.exists(path)), ""))
        included = (line.value for line in lines if line[1:3] == ("main", "include"))
        names += [word for value in included for word in _words(value)]
        found[:0] = lines
    return found


def _network_manager(files: FileTree, writer: Writer, kept: tuple[Governed, ...]) -> Iterator[str]:
    for path in _by_name(files, KEYFILE_DIRECTORIES, ""):
        lines = _lines(files, path)
        for card in kept:
            sets = {
                f"{section}.{key}": _network_manager_sets(section, key)
                for _, section, key, _ in lines
            }
            keys = [key for key, tunable in sets.items() if tunable in card.tunables]
            if keys and _keyfile_matches(lines, card.nic):
                yield (
                    f"NetworkManager ({writer.pid_and_unit}) sets {', '.join(keys)} of "
                    f"{card.nic.name}, too, by {path}: remove it there (`nmcli connection "
                    f"modify`), or have the profile keep {_listed(sets[key] for key in keys)}"
                )


def _network_manager_sets(section: str, key: str) -> str:
    """The tunable that a key of a connection sets, or none."""
    name = f"{section}.{key}"
    for tunable in TUNABLES:
        if any(fnmatchcase(name, pattern) for pattern in tunable.writers.network_manager):
            return tunable.name
    return ""


def _keyfile_matches(lines: tuple[Assignment, ...], nic: Nic) -> bool:
    """Whether a connection is for this card; one for any Ethernet card is for physical ones."""
    values = {(section, key): value for _, section, key, value in lines}
    facts = {
        ("connection", "interface-name"): nic.name,
        ("ethernet", "mac-address"): nic.mac,
        ("802-3-ethernet", "mac-address"): nic.mac,
        ("match", "interface-name"): nic.name,
        ("match", "driver"): nic.driver,
    }
    named = [(value, facts[at]) for at, value in values.items() if at in facts]
    if not named:
        return nic.kind == PHYSICAL and "ethernet" in values.get(("connection", "type"), "")
    return all(_any(value.replace(";", " ").split() or [""], fact) for value, fact in named)


def _google(files: FileTree, writer: Writer, kept: tuple[Governed, ...]) -> Iterator[str]:
    if not any(map(files.exists, GOOGLE_SCRIPTS)):
        return
    lines = _lines(files, GOOGLE_CONFIG)
    if any(line[1:] == ("InstanceSetup", "set_multiqueue", "false") for line in lines):
        return
    for card in kept:
        ours = card.sets(lambda writers: writers.google)
        if card.nic.driver in ("virtio_net", "gve") and ours:
            yield (
                f"{writer} runs google_set_multiqueue, which sets {_listed(ours)} of "
                f"{card.nic.name}, too: `set_multiqueue = false` under [InstanceSetup] in "
                f"{GOOGLE_CONFIG} ends that"
            )


def _bpftune(writer: Writer, kept: tuple[Governed, ...]) -> Iterator[str]:
    if names := {name for card in kept for name in card.sets(lambda writers: writers.bpftune)}:
        yield (
            f"{writer} tunes sysctls of net.core by itself, and gives up for good what another "
            f"program writes: end it, or have the profiles keep {_listed(names)}"
        )


def _bpftune_sysctls(writer: Writer, wanted: Sysctls) -> Iterator[str]:
    named = {
        key for key, (value, _) in wanted.items() if isinstance(value, Sysctl) and not value.yields
    }
    if names := [key for key in sorted(named) if key.startswith("net.")]:
        yield (
            f"{writer} may tune {_listed(names)}, too, and gives up for good what another program "
            "writes: end it, or have the profiles `yield` them"
        )


# Files


def _by_name(files: FileTree, directories: tuple[str, ...], suffix: str) -> list[str]:
    """Paths in the order of their names; of equal names the first directory's, as systemd has it.

    What is masked by a link to /dev/null has nothing in it.
    """
    found: dict[str, str] = {}
    for directory in directories:
        try:
            names = files.listdir(directory)
        except KernelError:
            continue
        for name in names:
            if name.endswith(suffix):
                found.setdefault(name, f"{directory}/{name}")
    return [found[name] for name in sorted(found)]


def _lines(files: FileTree, path: str) -> tuple[Assignment, ...]:
    return parse_lines(files.read_text(path, "")) if path else ()


def _words(value: str) -> list[str]:
    return value.replace(",", " ").replace(";", " ").split()


def _devices(value: str, name: str) -> bool:
    """TuneD's list of devices: globs, those with ! excluded."""
    words = _words(value)
    excluded = any(fnmatchcase(name, word[1:]) for word in words if word.startswith("!"))
    wanted = [word for word in words if not word.startswith("!")]
    return not excluded and (not wanted or any(fnmatchcase(name, word) for word in wanted))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))
