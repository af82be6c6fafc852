"""Plain lines of a shell script: ethtool, ip, tc, sysctl -w, echo into a file of the kernel's.

Nothing is run and nothing expanded: a line with a variable, a loop or a pipe is named as what it
is. Source: ethtool(8), ip-link(8), tc(8), sysctl(8).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping

from netuned.cpuset import CpuSet
from netuned.importing import sysctl
from netuned.importing.found import NOT_PLAIN, Found, Path, pairs, word

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
_NAPI = {"napi_defer_hard_irqs": "defer-hard-irqs", "gro_flush_timeout": "gro-flush-timeout"}

Reader = Callable[[int, str, list[str]], Iterator[Found]]


def read(text: str) -> Iterator[Found]:
    """One line after the other; those that end in a backslash with what follows."""
    number, begun, gathered = 0, 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun or number
        if line.endswith("\\"):
            gathered += line[:-1] + " "
            continue
        said = (gathered + line).strip()
        yield from _line(begun, said)
        begun, gathered = 0, ""


def _line(number: int, said: str) -> Iterator[Found]:
    if not said or said.startswith("#"):
        return
    try:
        words = shlex.split(said, comments=True)
    except ValueError:
        yield Found(number, said, why=NOT_PLAIN)
        return
    if words[:1] == ["sudo"]:
        words = words[1:]
    name = words[0].rpartition("/")[2] if words else ""
    if ">" in said and name in ("echo", "printf"):
        yield from _echo(number, said)
    elif re.search(r"[$`|;&<>(){}]", said) or name in _SHELL - {"echo"}:
        if name in ("ethtool", "ip", "tc", "sysctl", "for", "while") or "$" in said:
            yield Found(number, said, why=NOT_PLAIN)
    elif name in _READERS:
        yield from _READERS[name](number, said, words[1:])
    elif _ends_irqbalance(name, set(words)):
        yield Found(number, said, ("host", "irqbalance"), "stop")


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
        yield Found(number, said, why="netuned does not set this, or not by such a line")


def _table(number: int, said: str, rest: list[str], card: str) -> Iterator[Found]:
    path: Path = ("rss", "queues")
    match rest:
        case ["default"]:
            yield Found(number, said, ("rss",), "default", card=card)
        case ["equal", count] if count.isdigit() and int(count):
            yield Found(number, said, path, f"0-{int(count) - 1}", card=card)
        case ["start", first, "equal", count] if first.isdigit() and count.isdigit():
            queues = f"{first}-{int(first) + int(count) - 1}"
            yield Found(number, said, path, queues, card=card)
        case ["weight", *weights] if all(weight.isdigit() for weight in weights):
            yield Found(number, said, path, f"0-{len(weights) - 1}", card=card)
            yield Found(number, said, ("rss", "weights"), list(map(int, weights)), card=card)
        case _:
            yield Found(number, said, why="netuned does not set this, or not by such a line")


def _ip(number: int, said: str, words: list[str]) -> Iterator[Found]:
    words = [one for one in words if not one.startswith("-")]
    if words[:1] not in (["link"], ["l"]) or words[1:2] != ["set"]:
        return
    rest = words[2:]
    if rest[:1] == ["dev"]:
        rest = rest[1:]
    known = False
    for name, value in pairs(rest[1:]):
        if name in _LINK:
            known = True
            yield Found(number, said, ("link", _LINK[name]), word(value), card=f"name={rest[0]}")
    if not known:
        yield Found(number, said, why="the network's own configuration does this")


def _tc(number: int, said: str, words: list[str]) -> Iterator[Found]:
    match words:
        case ["qdisc", "add" | "replace" | "change", "dev", card, "root", *rest]:
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
    yield Found(number, said, ("qdisc", "kind"), rest[0], card=by)
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
        r"\S*(?:echo|printf)\s+(?:-n\s+)?(['\"]?)([^'\"$`|;&>]*)\1\s*>\s*(\S+)", said
    )
    if found is None:
        yield Found(number, said, why=NOT_PLAIN)
        return
    value, path = found[2].strip(), found[3].strip("'\"")
    if "$" in path or "`" in path:
        yield Found(number, said, why=NOT_PLAIN)
    elif path.startswith("/proc/sys/"):
        name = path.removeprefix("/proc/sys/").replace(".", "\0").replace("/", ".")
        yield sysctl.setting(number, said, name.replace("\0", "/"), value)
    elif path.startswith("/proc/irq/"):
        why = "which queue that interrupt is of only its host can tell: `netunedctl capture` there"
        yield Found(number, said, why=why)
    elif queue := _QUEUE.fullmatch(path):
        yield _queue(number, said, value, queue)
    elif (card := _CARD.fullmatch(path)) and card[2] in _NAPI:
        yield Found(number, said, ("napi", _NAPI[card[2]]), word(value), card=f"name={card[1]}")
    else:
        yield Found(number, said, why="netuned does not set this")


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
    return Found(number, said, why="netuned does not set this")


_READERS: Mapping[str, Reader] = {"ethtool": _ethtool, "ip": _ip, "tc": _tc, "sysctl": _sysctl}
