"""How a card computes the RSS hash: function, key, symmetry, and the fields of each kind of flow.

A symmetric hash is the same for both directions of a flow. Then the fields of every kind of flow
must be, too: they are set before it, and after it where it goes off.

Source: Documentation/networking/scaling.rst, "RSS Configuration"; ethtool(8) -X, -N rx-flow-hash;
net/ethtool/rss.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from netuned.errors import KernelError, UnsupportedError
from netuned.hardware.nic import Nic
from netuned.kernel.files import FileTree
from netuned.kernel.hashing import FLOWS, Hashing, key_of
from netuned.kernel.questions import HASHING as QUESTION
from netuned.profiles.profile import Profile
from netuned.profiles.rss import FIELDS as HASHED
from netuned.profiles.rss import KEPT_TABLE
from netuned.text import HASH_KEY
from netuned.tunables.base import (
    BOOT,
    NOT_ASKED,
    Boot,
    Limits,
    Seen,
    Target,
    Tunable,
    View,
    Wanted,
    Words,
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

RANDOM_KEY = "/proc/sys/net/core/netdev_rss_key"
"""What most drivers give a card as its key; another at each boot."""
_TCP, _UDP = ("tcp4", "tcp6"), ("udp4", "udp6")
USUAL: Mapping[str, tuple[str, ...]] = {
    FUNCTION: ("toeplitz",),
    SYMMETRIC: ("off",),
    **{_OF_FLOW + flow: ("src dst", "none") for flow in FLOWS if flow not in (*_TCP, *_UDP)},
    **{_OF_FLOW + flow: ("src dst sport dport",) for flow in _TCP},
}
"""What most drivers begin with; of UDP some hash the ports and others do not."""


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


def captured(seen: Seen) -> Iterator[Words | UnsupportedError]:
    """What is not as most drivers begin; the key only for who may know it."""
    said: dict[str, object] = {}
    fields: dict[str, object] = {}
    for key, value in seen.state.items():
        if isinstance(value, HashKey):
            if seen.whole or not _is_random(seen.files, value):
                text = value.secret.hex(":")
                if why := _untold(text, seen):
                    yield UnsupportedError(key, why)
                else:
                    said[key] = text
            continue
        word = str(value)
        if not seen.whole and word in USUAL.get(key, ()):
            continue
        if key.startswith(_OF_FLOW):
            names = [] if word == "none" else word.split()
            if set(names) <= set(HASHED):
                fields[key.removeprefix(_OF_FLOW)] = names or "none"
                continue
        elif word in (FUNCTIONS if key == FUNCTION else SYMMETRIES):
            said[key] = word
            continue
        yield UnsupportedError(key, f"a profile has no word for {word}")
    if fields:
        said["fields"] = fields
    if said:
        yield said


def _is_random(files: FileTree, key: HashKey) -> bool:
    """Whether a key is the one that the kernel made up for all cards of this boot."""
    of_all = files.read_text(RANDOM_KEY, "").replace(":", "").strip()
    return bool(key.secret) and of_all.startswith(key.secret.hex())


def _untold(text: str, seen: Seen) -> str:
    """Why a key is not said."""
    if not text:
        return "a snapshot has no hash key"
    if not seen.secrets:
        return "root alone is told it, by `netunedctl capture --key`"
    return "" if HASH_KEY.fullmatch(text) else "a profile has keys of 24 to 256 bytes"


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
    captured=captured,
    captured_in="rss",
    captured_beside=KEPT_TABLE,
)
