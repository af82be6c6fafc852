"""``perftune.yaml``, and ``/etc/scylla.d/perftune.yaml``. Source: Seastar's perftune.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from netuned.cpuset import CpuSet
from netuned.errors import NetunedError
from netuned.importing.found import NOT_OF_THE_NETWORK, Found, Path, word
from netuned.text import escape

OWN = frozenset(["nic", "mode", "tune", "cpu_mask", "irq_cpu_mask", "num_rx_queues", "arfs"])
"""Keys by which the file is known."""

_MODES: dict[str, dict[Path, object]] = {
    "mq": {("irq", "spread"): "one-per-queue", ("rps", "cpus"): "none"},
    "sq": {("irq", "cpus"): "first(1, local)", ("rps", "cpus"): "online - first(1, local)"},
    "sq_split": {("irq", "cpus"): "core:0", ("rps", "cpus"): "online - core:0"},
    "no_irq_restrictions": {("irq", "spread"): "all", ("irq", "cpus"): "online"},
}
"""What its modes do with interrupts: spread them, or keep a CPU or core for them."""


class _Plain(yaml.BaseLoader):
    """All is text, so that a mask stays as it is written; and nothing stands for something else."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("netuned reads no aliases")
        return super().compose_node(parent, index)


def read(text: str) -> Iterator[Found]:
    """Raises: NetunedError for what is no mapping."""
    try:
        data = _Plain(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        why = escape(" ".join(str(error).split()))
        raise NetunedError(f"it is no YAML; see to this first: {why:.200}") from None
    if not isinstance(data, dict):
        raise NetunedError("it holds no mapping; write `option: value` lines, as perftune.yaml has")
    lines = {line.partition(":")[0].strip(): n for n, line in enumerate(text.split("\n"), 1)}
    nics = data.get("nic") or []
    cards = [f"name={nic}" for nic in (nics if isinstance(nics, list) else [nics])]
    for key, value in data.items():
        number, said = lines.get(str(key), 1), f"{key}: {value}"
        if key in ("nic", "tune"):
            continue
        for path, own, why in _meaning(str(key), value):
            for card in (cards if path else []) or [""]:
                yield Found(number, said, path, own, why, card)


def _meaning(key: str, value: object) -> Iterator[tuple[Path, object, str]]:
    text = str(value)
    if key == "mode" and text in _MODES:
        yield from ((path, own, "") for path, own in _MODES[text].items())
        yield ("rfs", "entries"), "auto", ""
        yield ("xps", "cpus"), "auto", ""
    elif key == "irq_cpu_mask":
        try:
            cpus = str(CpuSet.parse_mask(text.lower().removeprefix("0x")))
        except ValueError:
            yield (), None, "it is no CPU mask"
            return
        yield ("irq", "cpus"), cpus, ""
    elif key == "num_rx_queues":
        yield ("channels", "combined"), word(text), ""
    elif key == "arfs":
        yield (
            ("offloads", "ntuple"),
            "on" if text.lower() in ("true", "yes", "on", "1") else "off",
            "",
        )
    elif key in ("cpu_mask", "irq_core_auto_detection_ratio"):
        yield (), None, "netuned takes the CPUs of the application as a set: cpus: {app: …}"
    else:
        yield (), None, NOT_OF_THE_NETWORK
