"""Plain lines of a shell script: ethtool, ip, tc, sysctl -w, echo into a file of the kernel's.

Nothing is run and nothing expanded: a line with a variable, a loop or a pipe is named as what it
is. Source: ethtool(8), ip-link(8), tc(8), sysctl(8).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping

from netuned.cpuset import CpuSet
from netuned.importing import sysctl
from netuned.importing.found import NOT_PLAIN, Found, Path, pairs, word

NOT_ALWAYS = "whether it runs, or how often, is known only where it is run"
NOT_BROUGHT = "no line like this is brought: docs/profiles.md has what netuned sets"

_QUEUE = re.compile(r"/sys/class/net/([^/*]+)/queues/([rt]x)-[^/]+/(\w+)")
_CARD = re.compile(r"/sys/class/net/([^/*]+)/(\w+)")
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
_TOOL = re.compile(r"(?<![\w.-])(?:ethtool|ip|tc|sysctl|irqbalance(?:\.service)?)(?![\w.-])")
_WRITES = re.compile(r">|(?<![\w.-])(?:tee|dd|cp)(?![\w.-])")
LINE_MOST = 4096
_COUNT = re.compile(r"[0-9]{1,5}", re.ASCII)
_NAPI = {"napi_defer_hard_irqs": "defer-hard-irqs", "gro_flush_timeout": "gro-flush-timeout"}

Reader = Callable[[int, str, list[str]], Iterator[Found]]


def read(text: str) -> Iterator[Found]:
    """One line after the other; those that end in a backslash with what follows."""
    begun, parts, depth, document = 0, list[str](), 0, ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if document:  # what stands there is somebody's input
            document = "" if line.strip() == document else document
            if _may_set(line):
                yield Found(number, line.strip(), why=NOT_ALWAYS)
            continue
        comment = line.lstrip().startswith("#") and not parts
        if not comment and (here := re.search(r"(?<!<)<<-?\s*[\"']?([A-Za-z_]\w*)", line)):
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
        yield from _table(number, said, rest, by)
    elif option.startswith("-"):
        yield Found(number, said, why=NOT_BROUGHT)


def _table(number: int, said: str, rest: list[str], card: str) -> Iterator[Found]:
    path: Path = ("rss",)
    match rest:
        case ["default"]:
            yield Found(number, said, path, "default", card=card)
        case ["equal", count] if _COUNT.fullmatch(count) and int(count):
            yield Found(number, said, path, {"queues": f"0-{int(count) - 1}"}, card=card)
        case ["start", first, "equal", count] if _COUNT.fullmatch(first) and _COUNT.fullmatch(
            count
        ):
            queues = f"{first}-{int(first) + int(count) - 1}"
            yield Found(number, said, path, {"queues": queues}, card=card)
        case ["weight", *weights] if all(map(_COUNT.fullmatch, weights)):
            table = {"queues": f"0-{len(weights) - 1}", "weights": list(map(int, weights))}
            yield Found(number, said, path, table, card=card)
        case _:
            yield Found(number, said, why=NOT_BROUGHT)


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
    """All queues of a card have one set: of lines for single queues the last one stays."""
    card = f"name={found[1]}"
    match found[3]:
        case "rps_cpus" | "xps_cpus" as file:
            try:
                cpus = str(CpuSet.parse_mask(value)) or "none"
            except ValueError:
                return Found(number, said, why="it is no CPU mask")
            return Found(number, said, (file[:3], "cpus"), cpus, card=card)
        case "rps_flow_cnt":
            why = "rfs: {entries: …} shares the host's table out over the queues"
            return Found(number, said, why=why)
    return Found(number, said, why=NOT_BROUGHT)


_READERS: Mapping[str, Reader] = {"ethtool": _ethtool, "ip": _ip, "tc": _tc, "sysctl": _sysctl}
