"""Sysctls below ``net.`` and ``vm.``: exactly, at least, or at most what profiles say.

Each network namespace has its own of some of ``net.``, shows others read-only and lacks the rest;
``vm.`` is the whole host's. Where profiles in force differ over one, the priority decides.

Source: Documentation/admin-guide/sysctl/; fs/proc/proc_sysctl.c; bpftune(8).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from netuned.cpuset import CpuSet
from netuned.errors import KernelError
from netuned.kernel.writers import find
from netuned.profiles.profile import Profile
from netuned.profiles.sysctls import (
    ACCEPT_REDIRECTS,
    ALIASES,
    AT_LEAST,
    RESETTING,
    TWINS,
    is_key,
    names_of,
    parse,
    path_of,
    reset_by,
    reset_with,
    rival,
)
from netuned.tunables.base import (
    HostTarget,
    Tunable,
    View,
    Watched,
    Writers,
    keyed_summary,
)
from netuned.tunables.together import DEFAULT, gather
from netuned.values import State, Sysctl, Value

NAME = "sysctl"
BPFTUNE = "bpftune"

_FIRST = (*RESETTING, "net.core.flow_limit_table_len")
"""What resets others; the last is the size of what the mask of CPUs makes, and must be there
before."""
_MASKS = ("net.core.flow_limit_cpu_bitmap", "net.core.rps_default_mask")
_REFUSALS = (
    *(errno.EINVAL, errno.ERANGE, errno.ENOENT, errno.EOPNOTSUPP),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)


def _parse(content: bytes) -> Sysctl:
    return Sysctl(" ".join(content.decode("utf-8", "replace").split()))


def read(view: View) -> State:
    """What is wanted, with what its change would change; what cannot be read is not there."""
    keys = {key for name in view.keys(NAME) for key in (name, rival(name) or name)}
    reset = {other for key in keys.intersection(RESETTING) for other in _reset(view, key)} - keys
    found = {}
    for key in sorted(keys | reset, key=_order):
        try:
            if key in reset:  # as many as there are interfaces, which come and go: none is kept
                found[key] = _parse(view.kernel.files.read(path_of(key)))
            else:
                found[key] = view.kept.sweep((path_of(key),), lambda contents: _parse(contents[0]))
        except KernelError as error:
            if error.exhausted:
                raise
    return view.kept.same(NAME, found, lambda state: state)


def _reset(view: View, key: str) -> list[str]:
    """The sysctls that this one resets, one of each interface."""
    try:
        return reset_with(key, view.kernel.files.listdir(f"/proc/sys/net/{key.split('.')[1]}/conf"))
    except KernelError as error:
        if error.exhausted:
            raise
        return []


def _order(key: str) -> tuple[bool, str]:
    return key not in _FIRST, key


def write(view: View, found: State, values: State) -> None:
    for key, value in values.items():
        assert isinstance(value, Sysctl)
        if key in TWINS and value.text == "0":
            continue  # refused, and the kernel's doing once the other is set
        if value.yields and _parse(view.kernel.files.read(path_of(key))) != found.get(key):
            continue  # another set it just now: the next look sees what
        view.kernel.files.write(path_of(key), _to_write(value, found.get(key)).encode())


def _to_write(value: Sysctl, found: Value | None) -> str:
    """Of a bound, each number that is outside as far as it has to go."""
    has = found.numbers if isinstance(found, Sysctl) else ()
    if not value.bound or len(value.numbers) != len(has):
        return value.text
    nearest = max if value.bound == AT_LEAST else min
    return " ".join(str(nearest(pair)) for pair in zip(value.numbers, has, strict=True))


def same(key: str, wanted: State, found: State) -> bool:
    asked, has = wanted[key], found[key]
    assert isinstance(asked, Sysctl)
    assert isinstance(has, Sysctl)
    return _is_as(key, asked, has)


def _is_as(key: str, asked: Sysctl, has: Sysctl) -> bool:
    if key in _MASKS and not asked.bound:
        return _mask(asked.text) == _mask(has.text)
    if not asked.bound:
        return asked.text == has.text
    least, most = asked.numbers, has.numbers
    if not most or len(most) != len(least):
        return False
    if asked.bound != AT_LEAST:
        least, most = most, least
    return all(low <= high for low, high in zip(least, most, strict=True))


def _mask(text: str) -> CpuSet | str:
    try:
        return CpuSet.parse_mask(text)
    except ValueError:
        return text


def within(key: str, wanted: Value, found: Value) -> bool:
    """Lists and masks read back in the kernel's own form; numbers are as they were written."""
    return isinstance(wanted, Sysctl) and not (wanted.bound or wanted.numbers)


def obstacles(view: View, found: State, values: State) -> Mapping[str, str]:
    barred = {}
    rival = None
    for key, value in values.items():
        has = found.get(key)
        assert isinstance(value, Sysctl)
        if not isinstance(has, Sysctl):
            barred[key] = "this kernel does not have it, or not in this network namespace"
        elif not view.kernel.files.mode(path_of(key)) & 0o200:
            barred[key] = "it cannot be written in this network namespace, or at all"
        elif value.bound and not has.numbers:
            barred[key] = f"it has no number that could be {value}"
        elif value.yields and key.startswith("net."):
            rival = rival or find(view.kernel.files, (BPFTUNE,)).get(BPFTUNE)
            if rival:
                barred[key] = f"{rival} runs, gives up what others set, and the profile yields it"
    return barred


def loses(found: State, key: str) -> Iterable[str]:
    """What is not as it would be had this key just been set to its value; of a pair the other."""
    if rival(key) in found:
        yield rival(key)
    for other in found if key in RESETTING else ():
        if reset_by(other) == key and _differs(other, found):
            yield other


def _differs(key: str, state: State) -> bool:
    """Whether a sysctl is another than the one that resets it makes of it."""
    one, own = state.get(reset_by(key)), state[key]
    assert isinstance(own, Sysctl)
    if not isinstance(one, Sysctl):
        return False
    made = str(int(one.text == "0")) if key == ACCEPT_REDIRECTS else one.text
    return own.text != made


def waits(key: str, recorded: State, wanted: State) -> bool:
    """What was reset, or stands in another's place, goes back after that."""
    if ALIASES.get(key) in wanted or rival(key) in wanted:
        return True
    asked, had = wanted.get(reset_by(key)), recorded.get(reset_by(key))
    if not isinstance(asked, Sysctl) or not isinstance(had, Sysctl):
        return False
    return not _is_as(reset_by(key), asked, had) and _differs(key, recorded)


def gathered(profiles: Sequence[Profile]) -> HostTarget | None:
    """Bounds that can hold together are the tighter one."""
    return gather(NAME, profiles, _named, _joined, _order, rival)


def _named(profile: Profile) -> Iterator[tuple[str, Sysctl | None]]:
    spec = profile.host.sysctl
    for name, said in spec.named() if spec else ():
        yields = name in profile.host.yielded
        yield ALIASES.get(name, name), None if said == DEFAULT else _said(said, yields)


def _said(said: str, yields: bool) -> Sysctl:
    bound, text = parse(said)
    return Sysctl(text, bound, yields)


def _joined(key: str, one: Value, other: Value) -> Value | None:
    assert isinstance(one, Sysctl)
    assert isinstance(other, Sysctl)
    for value, bound in ((one, other), (other, one)):
        if (not value.bound or value.bound == bound.bound) and _is_as(key, bound, value):
            return replace(value, yields=one.yields or other.yields)
    return None


def watched_by_key(key: str) -> list[Watched]:
    return [os.path.split(path_of(name)) for name in names_of(key)]


def says_otherwise(key: str, wanted: Value, text: str) -> bool:
    return isinstance(wanted, Sysctl) and not _is_as(key, wanted, _parse(text.encode()))


SYSCTL = Tunable(
    name=NAME,
    holds=(Sysctl,),
    accepts=is_key,
    read=read,
    write=write,
    gathered=gathered,
    by_key=True,
    same=same,
    within=within,
    allows=lambda wanted: isinstance(wanted, Sysctl) and bool(wanted.bound),
    gives_way=lambda wanted: isinstance(wanted, Sysctl) and wanted.yields,
    obstacles=obstacles,
    declines=lambda error: error.errno in _REFUSALS,
    loses=loses,
    waits=waits,
    watched_by_key=watched_by_key,
    writers=Writers(
        files=lambda nic, key: tuple(path_of(n).removeprefix("/proc/sys/") for n in names_of(key)),
        sysctl=says_otherwise,
    ),
    summary=keyed_summary,
)
