"""How a card computes the RSS hash: function, key, symmetry, and the fields of each kind of flow.

A symmetric hash is the same for both directions of a flow. Then the fields of every kind of flow
must be, too: they are set before it, and after it where it goes off.

Source: Documentation/networking/scaling.rst, "RSS Configuration"; ethtool(8) -X, -N rx-flow-hash;
net/ethtool/rss.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.hashing import FLOWS, Hashing, key_of
from netuned.kernel.questions import HASHING as QUESTION
from netuned.profiles.profile import Profile
from netuned.profiles.rss import FIELDS as HASHED
from netuned.tunables.base import (
    BOOT,
    NOT_ASKED,
    Boot,
    Limits,
    Target,
    Tunable,
    View,
    Wanted,
    Writers,
    keyed_summary,
)
from netuned.tunables.numbers import why_said
from netuned.values import HashKey, State, Value, Word

NAME = "hashing"
FUNCTION, KEY, SYMMETRIC = "function", "key", "symmetric"
_OF_FLOW = "fields "
_KEYS = frozenset((FUNCTION, KEY, SYMMETRIC, *(_OF_FLOW + flow for flow in FLOWS)))

FUNCTIONS: Mapping[str, int] = {"toeplitz": 1, "xor": 2, "crc32": 4}
SYMMETRIES: Mapping[str, int] = {"off": 0, "xor": 1, "or-xor": 2}
FIELDS: Mapping[str, int] = {
    **{name: 1 << bit for bit, name in enumerate(HASHED, 1)},
    "discard": 1 << 31,
}


def read(view: View) -> State:
    return view.kept.same(NAME, view.ask(QUESTION), state_of)


def state_of(found: Hashing) -> State:
    state: dict[str, Value] = {}
    if found.function:
        state[FUNCTION] = _word(FUNCTIONS, found.function)
        state[SYMMETRIC] = _word(SYMMETRIES, found.symmetric)
    if found.key.size:
        state[KEY] = found.key
    for flow, bits in found.fields.items():
        state[_OF_FLOW + flow] = _fields(bits)
    return state


def _word(words: Mapping[str, int], number: int) -> Word:
    """The word of a number; one that has none is shown as it is."""
    return Word(next((word for word, of in words.items() if of == number), f"{number:#x}"))


def _fields(bits: int) -> Word:
    names = [name for name, bit in FIELDS.items() if bits & bit]
    if bits != sum(FIELDS[name] for name in names):
        return Word(f"{bits:#x}")
    return Word(" ".join(names) or "none")


def _bits(word: str) -> int:
    if word.startswith("0x"):
        return int(word, 16)
    return sum(FIELDS[name] for name in word.split() if name != "none")


def limits_of(found: Hashing) -> Limits:
    """1 for each key that the card has; of the hash key its size."""
    return {**dict.fromkeys(state_of(found), 1), KEY: found.key.size}


def desired(target: Target, nic: Nic, limits: Limits) -> Wanted:
    return {key: _wanted(key, said, nic, limits) for key, said in _said(target.profile).items()}


def _said(profile: Profile) -> Mapping[str, str]:
    """What a profile says, by the tunable's keys."""
    spec = profile.rss
    if spec is None or spec == "default":
        return {}
    own = {FUNCTION: spec.function, KEY: spec.key, SYMMETRIC: spec.symmetric}
    fields = {_OF_FLOW + flow: said for flow, said in spec.fields.items()}
    return {key: said for key, said in (own | fields).items() if said is not None}


def _wanted(key: str, said: str, nic: Nic, limits: Limits) -> Value | UnsupportedError | Boot:
    if not limits.get(key):
        return UnsupportedError(key, f"the driver {nic.driver} does not have it")
    if said == "default":
        return BOOT
    if key != KEY:
        return Word(said)
    wanted = key_of(bytes.fromhex(said.replace(":", "")))
    if wanted.size == limits[KEY]:
        return wanted
    return UnsupportedError(key, f"the card's has {limits[KEY]} bytes, the profile's {wanted.size}")


def write(view: View, found: State, values: State) -> None:
    fields: dict[str, int | bytes] = {}
    others: dict[str, int | bytes] = {}
    for key, value in values.items():
        if isinstance(value, HashKey):
            others[key] = value.secret
            continue
        assert isinstance(value, Word)
        if key.startswith(_OF_FLOW):
            fields[key.removeprefix(_OF_FLOW)] = _bits(value.text)
        else:
            words = FUNCTIONS if key == FUNCTION else SYMMETRIES
            others[key] = words[value.text] if value.text in words else int(value.text, 16)
    ends = others.get(SYMMETRIC) == SYMMETRIES["off"]
    for part in (others, fields) if ends else (fields, others):
        if not part:
            continue
        try:
            view.kernel.ethtool_netlink.set_hashing(view.nic.ifindex, part)
        except KernelError as error:
            if error.attribute in FLOWS:
                raise replace(error, attribute=_OF_FLOW + error.attribute) from None
            raise


def why(target: Target, nic: Nic, key: str) -> str:
    said = _said(target.profile).get(key)
    return NOT_ASKED if said is None else why_said(said)


HASHING = Tunable(
    name=NAME,
    holds=(Word, HashKey),
    accepts=_KEYS.__contains__,
    read=read,
    write=write,
    desired=desired,
    why=why,
    limits=lambda view: limits_of(view.ask(QUESTION)),
    by_key=True,
    group=lambda key: NAME,
    section=lambda profile: _said(profile) or None,
    events=frozenset({"rss"}),
    silent=lambda kernel: not kernel.ethtool_netlink.tells_of_rss(),
    writers=Writers(hint="look for `ethtool -X` and `ethtool -N` in scripts and timers"),
    summary=keyed_summary,
)
