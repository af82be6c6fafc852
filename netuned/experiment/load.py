"""What a load tells of itself: iperf3's JSON, sockperf's summary, netperf's selected output. Pure.

Source: iperf3(1), --json; sockperf's "Summary" and percentiles; netperf(1), omni tests with -k.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from netuned.errors import NetunedError
from netuned.regex import regex

_SOCKPERF_MEAN = regex(r"Summary: (?:Latency|Round trip) is ([\d.]+) usec")
_SOCKPERF_PERCENTILE = regex(r"---> (percentile ([\d.]+)|<MAX> observation) = +([\d.]+)")
_MOST = 1e30
"""What is told may be infinite, or no number, which JSON's writers spell NaN."""
_NETPERF = regex(r"(?m)^([A-Z0-9_]+)=(\S+)$")
_NETPERF_NAMES = {
    "THROUGHPUT": "",
    "MEAN_LATENCY": "latency_us",
    "P50_LATENCY": "latency_p50_us",
    "P99_LATENCY": "latency_p99_us",
    "MAX_LATENCY": "latency_max_us",
    "LOCAL_TRANSPORT_RETRANS": "load_retransmits",
}
_NETPERF_UNITS = {"10^6bits/s": ("load_gbit_s", 1e-3), "10^9bits/s": ("load_gbit_s", 1.0),
                  "Trans/s": ("load_transactions_s", 1.0)}  # fmt: skip


def told_by(output: str) -> dict[str, float]:
    """By measure what a load's output says; nothing if it is none of those three's.

    Raises: NetunedError if iperf3 tells that it failed.
    """
    if output.lstrip().startswith("{"):
        return _iperf3(output)
    if "sockperf" in output:
        return _sockperf(output)
    return _netperf(output)


def _iperf3(output: str) -> dict[str, float]:
    try:
        data = json.loads(output)
    except ValueError:
        return {}
    end = data.get("end") if isinstance(data, dict) else None
    error = data.get("error", "") if isinstance(data, dict) else ""
    if error and "interrupt" not in str(error):
        raise NetunedError(f"the load failed: iperf3 says {str(error)[:200]!r}; start it by hand")
    if not isinstance(end, dict):
        return {}
    sums = [_mapping(end.get(name)) for name in ("sum_received", "sum", "sum_sent")]
    found: dict[str, float] = {}
    for name, key, factor in (
        ("load_gbit_s", "bits_per_second", 1e-9),
        ("load_retransmits", "retransmits", 1.0),
        ("load_lost_percent", "lost_percent", 1.0),
        ("jitter_us", "jitter_ms", 1e3),
    ):
        if numbers := [each[key] for each in sums if _is_number(each.get(key))]:
            found[name] = max(numbers) * factor
    streams = end.get("streams")
    of_all = streams if isinstance(streams, list) else []
    senders = [_mapping(_mapping(each).get("sender")) for each in of_all]
    if means := [each["mean_rtt"] for each in senders if _is_number(each.get("mean_rtt"))]:
        found["latency_us"] = sum(means) / len(means)
    if most := [each["max_rtt"] for each in senders if _is_number(each.get("max_rtt"))]:
        found["latency_max_us"] = float(max(most))
    return found


def _sockperf(output: str) -> dict[str, float]:
    found = {}
    if mean := _SOCKPERF_MEAN.search(output):
        found["latency_us"] = float(mean[1])
    for _, percentile, value in _SOCKPERF_PERCENTILE.findall(output):
        if not percentile:
            found["latency_max_us"] = float(value)
        elif float(percentile) in (50.0, 99.0):
            found[f"latency_p{float(percentile):.0f}_us"] = float(value)
    return found


def _netperf(output: str) -> dict[str, float]:
    told = dict(_NETPERF.findall(output))
    found = {}
    for key, name in _NETPERF_NAMES.items():
        try:
            number = float(told[key])
        except (KeyError, ValueError):
            continue
        name, factor = (
            (name, 1.0) if name else _NETPERF_UNITS.get(told.get("THROUGHPUT_UNITS", ""), ("", 1.0))
        )
        if name and 0 <= number < _MOST:  # -1 is what it did not count
            found[name] = number * factor
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST
