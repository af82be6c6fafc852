"""TuneD's profiles: ``tuned.conf``. Source: tuned-profiles(7), its plugins net, irq and sysctl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netuned.assignments import disabled, parse_lines, plugins
from netuned.importing import sysctl
from netuned.importing.found import EVERY, NOT_OF_THE_NETWORK, Found, pairs, word
from netuned.regex import regex
from netuned.tunables import TUNABLES

_TUNABLES = {option: tunable.name for tunable in TUNABLES for option in tunable.writers.tuned}
_VARIABLE = regex(r"\$\{([A-Za-z0-9_]+)\}")
_COMPUTED = regex(r"\$\{[A-Za-z0-9_]+[:}]")
FILLED_MOST = 4096
"""Characters: variables that are made of each other double with each line."""
COMPUTED = "it is computed where TuneD runs"
PLUGINS_OF_THE_NETWORK = ("net", "irq", "sysctl", "irqbalance", "scheduler", "main", "variables")


def read(text: str) -> Iterator[Found]:
    variables = dict[str, str]()
    lines = parse_lines(text)
    plugin_of = plugins(lines)
    for _, section, key, value in lines:
        if plugin_of[section] == "variables":
            variables[key] = _filled(value, variables)
    off = disabled(line._replace(value=_filled(line.value, variables)) for line in lines)
    sections: dict[str, dict[str, str]] = {}
    for _, section, key, value in lines:
        sections.setdefault(section, {})[key] = _filled(value, variables)
    for number, section, key, value in lines:
        plugin, said = plugin_of[section], f"[{section}] {key}={value}"
        full = _filled(value, variables)
        if plugin == "main":
            if key == "include":
                why = "import that profile, too, and name it under extends"
                yield Found(number, said, why=f"it includes {value}: {why}")
        elif plugin == "variables":
            continue
        elif plugin not in PLUGINS_OF_THE_NETWORK:
            yield Found(number, said, why=NOT_OF_THE_NETWORK)
        elif section in off:
            yield Found(number, said, why="its section is not enabled")
        elif why := _barred(plugin, sections[section]):
            yield Found(number, said, why=why)
        elif _COMPUTED.search(full):
            yield Found(number, said, why=COMPUTED)
        elif plugin == "sysctl" and key not in ("enabled", "type"):
            yield sysctl.setting(number, said, key, full)
        elif key not in ("devices", "enabled", "type"):
            for card in _cards(sections[section].get("devices", "")):
                yield from _setting(number, said, plugin, key, full, card)


def _barred(plugin: str, options: Mapping[str, str]) -> str:
    """Why nothing of a section is brought: it is for what a profile cannot select."""
    for key, value in options.items():
        if (
            key.endswith("_regex")
            or key.startswith("devices_")
            or (key == "devices" and plugin != "net")
        ):
            return f"its section is for what {key}={value} selects, and a profile cannot say that"
    return COMPUTED if _COMPUTED.search(options.get("devices", "")) else ""


def _cards(devices: str) -> list[str]:
    """What selects the cards: each its own, all in one where some are excluded."""
    words = devices.replace(",", " ").split()
    if any(word.startswith("!") for word in words):
        words = [" ".join(words)]
    return [f"name={word}" for word in words] or [EVERY]


def _filled(value: str, variables: Mapping[str, str]) -> str:
    """With variables for their names; as it is where that comes to no value that a line has."""
    names = _VARIABLE.findall(value)
    if len(value) + sum(len(variables.get(name, "")) for name in names) > FILLED_MOST:
        return value
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value)


def _setting(
    number: int, said: str, plugin: str, key: str, value: str, card: str
) -> Iterator[Found]:
    if plugin == "net" and key == "txqueuelen":
        yield Found(number, said, ("link", key), word(value), card=card)
    elif plugin == "net" and (tunable := _TUNABLES.get(f"net.{key}")):
        for name, own in pairs(value.replace(":", " ").split()):
            yield Found(number, said, (tunable, name), word(own), card=card)
    elif plugin == "irq" and key == "affinity":
        yield Found(number, said, ("irq", "cpus"), value, card=card)
    elif (plugin, key) in (("scheduler", "isolated_cores"), ("irqbalance", "banned_cpus")):
        yield Found(number, said, ("irq", "cpus"), f"online - ({value})", card=card)
    else:
        yield Found(number, said, why="netuned does not set this")
