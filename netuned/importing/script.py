"""Plain lines of a shell script: ethtool, ip, tc, sysctl -w, echo into a file of the kernel's.

Nothing is run and nothing expanded: a line with a variable, a loop or a pipe is named as what it
is. Source: ethtool(8), ip-link(8), tc(8), sysctl(8).
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count, dropwhile

from netuned.cpuset import CpuSet
from netuned.importing import sysctl
from netuned.importing.found import APPENDED, NOT_PLAIN, TABLE, Found, Path, pairs, word
from netuned.profiles.rss import FIELDS as HASHED
from netuned.regex import regex
from netuned.tunables.contexts import called

NOT_ALWAYS = "whether it runs, or how often, is known only where it is run"
GONE = "netuned takes away what no profile says any more"
UNLIKE = "a profile has one set for all queues, and these have several: `netunedctl capture` there"
NOT_BROUGHT = "no line like this is brought: docs/profiles.md has what netuned sets"

_QUEUE = regex(r"/sys/class/net/([^/*]+)/queues/([rt]x-[^/]+)/(\w+)")
_CARD = regex(r"/sys/class/net/([^/*]+)/(\w+)")
_SHELL = frozenset(
    "if then else elif fi for while until do done case esac function { } ! [ [[ exit"
)
_SHELL |= {"set", "export", "source", ".", "return", "echo", "sleep", "logger", "modprobe"}
_SWITCHES = {"ecn": "ecn", "pacing": "pacing", "nat": "nat", "wash": "wash", "ingress": "ingress"}
_LINK = {
    "txqueuelen": "txqueuelen",
    "txqlen": "txqueuelen",
    "qlen": "txqueuelen",
    **{name: name.replace("_", "-") for name in ("gso_max_size", "gro_max_size", "gso_max_segs")},
    **{name: name.replace("_", "-") for name in ("gso_ipv4_max_size", "gro_ipv4_max_size")},
}
_ETHTOOL = {
    **dict.fromkeys(("-L", "--set-channels"), "channels"),
    **dict.fromkeys(("-G", "--set-ring"), "rings"),
    **dict.fromkeys(("-C", "--coalesce"), "coalesce"),
    **dict.fromkeys(("-K", "--offload", "--features"), "offloads"),
}
_TOOL = regex(r"(?<![\w.-])(?:ethtool|ip|tc|sysctl|irqbalance(?:\.service)?)(?![\w.-])")
_WRITES = regex(r">|(?<![\w.-])(?:tee|dd|cp)(?![\w.-])")
LINE_MOST = 4096
_HERE = regex(r"(?<!<)<<-?\s*[\"']?([A-Za-z_]\w*)")
_COUNT = regex(r"[0-9]{1,5}", re.ASCII)
_NUMBER = regex(r"0x[0-9a-f]{1,4}|0|[1-9][0-9]{0,4}", re.ASCII)
_LAST = 1 << 30
"""Above all locations."""
_HASHED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "hfunc": ("function", {}),
    "hkey": ("key", {}),
    "xfrm": ("symmetric", {"none": "off", "symmetric-xor": "xor", "symmetric-or-xor": "or-xor"}),
}
_FIELDS = dict(zip("mvtsdfne", HASHED, strict=False))
"""Letters of ethtool's rx-flow-hash."""
_MATCHED = {
    "src": "src",
    "dst": "dst",
    "src-ip": "src",
    "dst-ip": "dst",
    "proto": "type",
    "src-port": "sport",
    "dst-port": "dport",
    "vlan": "vlan",
}
"""Fields of ethtool's flow rules that a profile has."""
_NAPI = {"napi_defer_hard_irqs": "defer-hard-irqs", "gro_flush_timeout": "gro-flush-timeout"}

Reader = Callable[[int, str, list[str]], Iterator[Found]]


def read(text: str) -> Iterator[Found]:
    """What lines set. New contexts have the numbers that the kernel gives where there are none.

    Masks of single queues come after other lines, for all of a card are to be alike. Rules come
    last, in the order of their locations: ethtool puts one without any before those that it put
    so, from the table's end. Source: ethtool, rxclass.c, rmgr_find_empty_slot().
    """
    there, rules = defaultdict[str, set[str]](set), dict[tuple[str, int], Found]()
    singles = defaultdict[tuple[str, Path], dict[str, Found]](dict)
    for found in _found(text):
        match found.path:
            case ("rss", "contexts", "new"):
                name = next(name for name in map(called, count(1)) if name not in there[found.card])
                there[found.card].add(name)
                yield replace(found, path=("rss", "contexts", name))
            case ("rss", "contexts", name) if found.why == GONE:
                there[found.card].discard(name)
                yield found
            case ("flows", location) if found.why == GONE:
                rules.pop((found.card, int(location)), None)
                yield found
            case ("rps" | "xps" as which, "cpus", queue):
                singles[found.card, (which, "cpus")][queue] = replace(found, path=(which, "cpus"))
            case ("flows", location):
                place = int(location) if location else _LAST - found.line
                rules[found.card, place] = replace(found, path=("flows", APPENDED))
            case _:
                yield found
    for of_queues in singles.values():
        unlike = len({found.value for found in of_queues.values()}) > 1
        for found in of_queues.values():
            yield replace(found, why=UNLIKE) if unlike else found
    for at in sorted(rules):
        yield rules[at]


def _found(text: str) -> Iterator[Found]:
    """One line after the other; those that end in a backslash with what follows."""
    begun, parts, depth, document = 0, list[str](), 0, ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if document:  # what stands there is somebody's input
            document = "" if line.strip() == document else document
            if _may_set(line):
                yield Found(number, line.strip(), why=NOT_ALWAYS)
            continue
        comment = line.lstrip().startswith("#") and not parts
        if not comment and (here := _HERE.search(re.sub(r"\(\(.*?\)\)|\s#.*", "", line))):
            document = here[1]
        begun = begun or number
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        said = " ".join([*parts, line]).strip()
        first = (said.split() or [""])[0].rstrip(";")
        last = (said.rstrip(";").split() or [""])[-1]
        depth += first in ("if", "for", "while", "until", "case") or last == "{"
        inside = depth > 0 and said and not said.startswith("#")
        depth -= depth > 0 and (first in ("fi", "done", "esac", "}") or last in ("fi", "done"))
        if not inside:
            yield from _line(begun, said)
        elif _may_set(said):
            yield Found(begun, said, why=NOT_ALWAYS)
        begun, parts = 0, []


def _line(number: int, said: str) -> Iterator[Found]:
    """What a line sets; one that may set something is named where nothing comes of it."""
    if said.startswith("#"):
        return
    try:
        words = shlex.split(said, comments=True) if len(said) <= LINE_MOST else []
    except ValueError:
        words = []
    if words[:1] == ["sudo"]:
        words = words[1:]
    name = words[0].rpartition("/")[2] if words else ""
    found: Iterable[Found] = ()
    plain = not re.search(r"[$`|;&<>(){}]", said) and name not in _SHELL
    if name in ("echo", "printf") and ">" in said:
        found = _echo(number, said)
    elif plain and name in _READERS:
        found = _READERS[name](number, said, words[1:])
    elif plain and _ends_irqbalance(name, set(words)):
        found = [Found(number, said, ("host", "irqbalance"), "stop")]
    found = tuple(found)
    if not found and (_may_set(said) or "$" in said):
        found = (Found(number, said, why=NOT_BROUGHT if plain and words else NOT_PLAIN),)
    yield from found


def _may_set(said: str) -> bool:
    """Whether a line is one of which each is brought or named."""
    where = ("/proc/", "/sys/", "echo", "printf")
    return bool(_TOOL.search(said) or (_WRITES.search(said) and any(at in said for at in where)))


def _ends_irqbalance(name: str, words: set[str]) -> bool:
    named = not words.isdisjoint({"irqbalance", "irqbalance.service"})
    return name == "systemctl" and named and not words.isdisjoint({"stop", "disable", "mask"})


def _ethtool(number: int, said: str, words: list[str]) -> Iterator[Found]:
    option, card, rest = (*words, "", "")[0], (*words, "", "")[1], words[2:]
    by = f"name={card}"
    if option in _ETHTOOL:
        for name, value in pairs(rest):
            yield Found(number, said, (_ETHTOOL[option], name), word(value), card=by)
    elif option in ("-X", "--rxfh-indir", "--set-rxfh-indir", "--rxfh") and rest:
        yield from _spread(number, said, rest, by)
    elif option in ("-N", "-U", "--config-nfc", "--config-ntuple") and rest:
        yield _steered(number, said, rest, by)
    elif option.startswith("-"):
        yield Found(number, said, why=NOT_BROUGHT)


def _spread(number: int, said: str, rest: list[str], card: str) -> Iterator[Found]:
    """Of a card's table or a context's, and how it hashes."""
    left, hashed = list(rest), list[Found]()
    path: Path = TABLE
    table: dict[str, object] = {}
    first = "0"
    while left:
        match left:
            case ["context", context, "delete"] if _COUNT.fullmatch(context):
                path = ("rss", "contexts", called(int(context)))
                yield Found(number, said, path, why=GONE, card=card)
                return
            case ["context", context, *left] if context == "new" or _COUNT.fullmatch(context):
                path = ("rss", "contexts", context if context == "new" else called(int(context)))
            case ["default", *left]:
                table = {"queues": "all"}
            case ["start", first, *left] if _COUNT.fullmatch(first) and not table:
                pass
            case ["equal", count, *left] if _COUNT.fullmatch(count) and int(count):
                table = {"queues": _from(int(first), int(count))}
            case ["weight", *weights]:
                left = list(dropwhile(_COUNT.fullmatch, weights))
                shares = [int(one) for one in weights[: len(weights) - len(left)]]
                table = {"queues": _from(int(first), len(shares)), "weights": shares}
            case [option, value, *left] if option in _HASHED:
                key, words = _HASHED[option]
                own = words.get(value, value)
                hashed.append(Found(number, said, ("rss", key), own, card=card))
            case _:
                yield Found(number, said, path, why=NOT_BROUGHT, card=card)
                return
    if path != TABLE and (hashed or not table):
        why = "a profile's context has queues, and the driver's hash"
        yield Found(number, said, path, why=why, card=card)
        return
    if table:
        yield Found(number, said, path, table, card=card)
    yield from hashed


def _from(first: int, count: int) -> object:
    """So many queues, as a profile has them."""
    return f"{first}-{first + count - 1}" if count > 1 else [first][:count]


def _steered(number: int, said: str, rest: list[str], card: str) -> Found:
    """A flow rule, or what of a kind of flow is hashed."""
    match rest:
        case ["rx-flow-hash", flow, letters] if set(letters) <= _FIELDS.keys():
            fields = [_FIELDS[letter] for letter in letters]
            return Found(number, said, ("rss", "fields", flow), fields, card=card)
        case ["flow-type", proto, *left]:
            return _rule(number, said, proto, left, card)
        case ["delete", location] if _COUNT.fullmatch(location):
            return Found(number, said, ("flows", location), why=GONE, card=card)
    return Found(number, said, why=NOT_BROUGHT)


def _rule(number: int, said: str, proto: str, left: list[str], card: str) -> Found:
    match, to, location = dict[str, object](), dict[str, str](), ""
    while left:
        name, value, *left = *left, ""
        mask = ""
        if left[:1] == ["m"]:
            mask, left = (*left, "", "")[1], left[2:]
        left = [one for one in left if one]
        field = _masked(_MATCHED.get(name, ""), value, mask)
        if field is not None:
            match[_MATCHED[name]] = field
        elif name in ("action", "context") and not mask:
            to[name] = value
        elif name == "loc" and _COUNT.fullmatch(value):
            location = value
        else:
            return Found(number, said, why=f"no profile says {name} {value} {mask}".rstrip())
    goes = _target(to)
    if not goes:
        return Found(number, said, why="a rule goes to a queue, to a context, or nowhere")
    rule = {"match": {"proto": proto, **match}, "to": goes}
    return Found(number, said, ("flows", location), rule, card=card)


def _target(to: Mapping[str, str]) -> str:
    match dict(to):
        case {"context": context, **rest} if _COUNT.fullmatch(context) and not rest:
            return f"context {called(int(context))}"
        case {"action": "-1"}:
            return "drop"
        case {"action": queue} if _COUNT.fullmatch(queue) and len(to) == 1:
            return f"queue {queue}"
        case {}:
            return "" if to else "queue 0"
    return ""


def _masked(field: str, value: str, mask: str) -> object:
    """What a profile says of a field; None where it says no such thing. Bits in a mask are left
    out of the comparison."""
    if field in ("src", "dst") and mask and ":" not in mask:
        try:
            ignored = int(IPv4Address(mask))
        except ValueError:
            return None
        return None if ignored & ignored + 1 else f"{value}/{32 - ignored.bit_length()}"
    if mask == "0xf000" and field == "vlan":
        mask = ""
    elif field == "vlan":
        return None
    if not field or mask.strip("0x:"):
        return None
    if field in ("src", "dst"):
        return value
    return int(value, 0) if _NUMBER.fullmatch(value) else None


def _ip(number: int, said: str, words: list[str]) -> Iterator[Found]:
    if words[:2] not in (["link", "set"], ["l", "set"]) or {"netns", "group"} & set(words):
        return  # with options, too: of another network namespace, or a file's lines
    known, others, card, rest = dict[str, str](), list[str](), "", words[2:]
    while rest:
        name = rest.pop(0)
        if name in _LINK and rest:
            known[name] = rest.pop(0)
        elif name == "dev" and rest:
            card = rest.pop(0)
        elif card or name in ("up", "down"):
            others.append(name)
        else:
            card = name
    for name, value in known.items():
        yield Found(number, said, ("link", _LINK[name]), word(value), card=f"name={card}")
    if others or not known:
        yield Found(number, said, why="the network's own configuration does the rest")


def _tc(number: int, said: str, words: list[str]) -> Iterator[Found]:
    match words:
        case ["qdisc", "add" | "replace", "dev", card, "root", *rest]:
            if rest[:1] == ["handle"]:
                rest = rest[2:]
        case _:
            yield Found(
                number, said, why="netuned sets one kind of qdisc for all of a card's queues"
            )
            return
    if not rest:
        yield Found(number, said, why=NOT_PLAIN)
        return
    by = f"name={card}"
    yield Found(number, said, ("qdisc",), {"kind": rest[0]}, card=by)
    left = list(rest[1:])
    while left:
        name = left.pop(0)
        if name.removeprefix("no") in _SWITCHES:
            value: object = "no" if name.startswith("no") else "yes"
            yield Found(number, said, ("qdisc", name.removeprefix("no")), value, card=by)
        elif left:
            yield Found(number, said, ("qdisc", name), word(left.pop(0)), card=by)
        else:
            yield Found(number, said, why=f"{name} has no value")


def _sysctl(number: int, said: str, words: list[str]) -> Iterator[Found]:
    for one in words:
        if "=" in one:
            name, _, value = one.partition("=")
            yield sysctl.setting(number, said, name, value)


def _echo(number: int, said: str) -> Iterator[Found]:
    found = re.fullmatch(
        r"\S*(?:echo|printf) (?:-n )?(['\"]?)([^'\"$`|;&>]*)\1 ?> ?(\S+)", " ".join(said.split())
    )
    if found is None:
        yield Found(number, said, why=NOT_PLAIN)
        return
    value, path = found[2].strip(), found[3].strip("'\"")
    if "$" in path or "`" in path:
        yield Found(number, said, why=NOT_PLAIN)
    elif path.startswith("/proc/sys/"):
        yield sysctl.setting(number, said, path.removeprefix("/proc/sys/"), value)
    elif path.startswith("/proc/irq/"):
        why = "which queue that interrupt is of only its host can tell: `netunedctl capture` there"
        yield Found(number, said, why=why)
    elif queue := _QUEUE.fullmatch(path):
        yield _queue(number, said, value, queue)
    elif (card := _CARD.fullmatch(path)) and card[2] in _NAPI:
        own: object = f"{value}ns" if card[2].endswith("timeout") else word(value)
        yield Found(number, said, ("napi", _NAPI[card[2]]), own, card=f"name={card[1]}")
    else:
        yield Found(number, said, why=NOT_BROUGHT)


def _queue(number: int, said: str, value: str, found: re.Match[str]) -> Found:
    """All queues of a card have one set."""
    card = f"name={found[1]}"
    match found[3]:
        case "rps_cpus" | "xps_cpus" as file:
            try:
                cpus = str(CpuSet.parse_mask(value)) or "none"
            except ValueError:
                return Found(number, said, why="it is no CPU mask")
            return Found(number, said, (file[:3], "cpus", found[2]), cpus, card=card)
        case "rps_flow_cnt":
            why = "rfs: {entries: …} shares the host's table out over the queues"
            return Found(number, said, why=why)
    return Found(number, said, why=NOT_BROUGHT)


_READERS: Mapping[str, Reader] = {"ethtool": _ethtool, "ip": _ip, "tc": _tc, "sysctl": _sysctl}
