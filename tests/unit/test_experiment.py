"""``netuned.experiment``: orders, comparisons and modes, by simulations whose truth is known."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import pytest

from netuned.cli.commands import COMMANDS
from netuned.cli.experiment import arms_of, run, show
from netuned.cli.parser import make_parser
from netuned.cli.text import Screen
from netuned.cli.turns import text_of
from netuned.counters.sample import CardSample, Sample
from netuned.errors import NetunedError
from netuned.experiment.comparison import (
    LEAST_RUNS,
    MOST_RUNS,
    Comparison,
    compare,
    runs_needed,
    spread,
)
from netuned.experiment.energy import read_energy, watts
from netuned.experiment.load import told_by
from netuned.experiment.measures import MEASURES, measured
from netuned.experiment.modes import modes, separators
from netuned.experiment.order import ABBA, RANDOM, blocks, turns
from netuned.experiment.outcome import Run, outcome
from netuned.kernel.files import Files
from netuned.report.outcome import html

EXPERIMENTS = 200


def test_blocks_have_each_arm_once_and_go_forth_and_back() -> None:
    assert blocks(2, 4, ABBA, 0) == ((0, 1), (1, 0), (0, 1), (1, 0))
    assert blocks(3, 2, ABBA, 0) == ((0, 1, 2), (2, 1, 0))
    shuffled = blocks(3, 50, RANDOM, 7)
    assert shuffled == blocks(3, 50, RANDOM, 7) != blocks(3, 50, RANDOM, 8)
    assert {tuple(sorted(block)) for block in shuffled} == {(0, 1, 2)}
    assert len(set(shuffled)) == 6
    assert turns(blocks(2, 2, ABBA, 0)) == ((0, 0), (0, 1), (1, 1), (1, 0))
    with pytest.raises(ValueError, match="1 arms"):
        blocks(1, 5, ABBA, 0)


def test_an_even_drift_is_no_difference() -> None:
    """What grows by the same with each turn is the same for both, in every two blocks."""
    at = {turn: number for number, turn in enumerate(turns(blocks(2, 6, ABBA, 0)))}
    first, second = ([100.0 + at[block, arm] for block in range(6)] for arm in (0, 1))
    assert sum(first) == sum(second)
    assert not compare(first, second, 1).is_more_than_noise


def test_spread_is_the_middle_half() -> None:
    told = spread([1, 2, 3, 4, 100])
    assert (told.low, told.median, told.high) == (2, 3, 4)


def experiment(chance: random.Random, effect: float, noise: float, runs: int) -> Comparison:
    """One of blocks that differ by a tenth among each other, and runs by ``noise``."""
    levels = [100 * math.exp(chance.gauss(0, 0.1)) for _ in range(runs)]
    base = [level * math.exp(chance.gauss(0, noise)) for level in levels]
    other = [level * effect * math.exp(chance.gauss(0, noise)) for level in levels]
    return compare(base, other, chance.randrange(1000), resamples=2000)


@pytest.mark.parametrize("runs", [5, 10, 20])
def test_known_effects_are_recovered_and_false_alarms_are_rare(
    runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(runs)
    least = {1.02: 0.1, 1.05: 0.6 if runs == 5 else 0.95}
    told = []
    for effect in (1.0, 1.02, 1.05, 1.1, 1.3):
        found = [experiment(chance, effect, 0.02, runs) for _ in range(EXPERIMENTS)]
        power = sum(each.is_more_than_noise for each in found) / EXPERIMENTS
        coverage = sum(each.low <= effect <= each.high for each in found) / EXPERIMENTS
        middle = sorted(each.change for each in found)[EXPERIMENTS // 2]
        told.append(f"{effect:.2f}: found {power:.0%}, in the interval {coverage:.0%}")
        assert abs(middle - effect) < 0.01
        assert coverage >= 0.88
        assert power <= 0.08 if effect == 1.0 else power >= least.get(effect, 0.95)
    with capsys.disabled():
        print(f"\n{runs} runs, noise of 2 %: " + "; ".join(told))


def test_as_many_runs_as_are_told_find_it_four_times_in_five() -> None:
    runs = runs_needed(math.log(1.03), math.sqrt(2) * 0.03)
    chance = random.Random(1)
    found = [experiment(chance, 1.03, 0.03, runs).is_more_than_noise for _ in range(EXPERIMENTS)]
    assert 10 < runs < 30
    assert 0.7 < sum(found) / EXPERIMENTS < 0.9
    assert runs_needed(0.0001, 1.0) == runs_needed(0.0, 1.0) == MOST_RUNS + 1
    assert runs_needed(100.0, 0.1) == LEAST_RUNS


def test_where_there_are_zeros_it_is_the_difference() -> None:
    drops = compare([0, 0, 0, 0, 0, 1], [50, 61, 48, 55, 52, 58], 1)
    assert not drops.is_ratio
    assert drops.is_more_than_noise
    assert drops.low < 53.8 < drops.high
    none = compare([0.0] * 6, [0.0] * 6, 1)
    assert (none.change, none.is_more_than_noise) == (0.0, False)


def test_few_runs_tell_nothing() -> None:
    few = compare([1.0, 1.1, 1.0, 1.1], [2.0, 2.2, 2.1, 2.3], 1)
    assert few.change > 1.9
    assert not few.is_more_than_noise
    assert few.runs_needed == LEAST_RUNS
    with pytest.raises(ValueError, match="5 values against 4"):
        compare([1.0] * 5, [1.0] * 4, 1)


def test_it_is_the_same_for_a_seed() -> None:
    base, other = [1.0, 1.2, 0.9, 1.1, 1.0], [1.1, 1.1, 1.2, 1.0, 1.3]
    assert compare(base, other, 3) == compare(base, other, 3)


def wandering(chance: random.Random, count: int) -> list[float]:
    """Each value half of the one before it, and half new."""
    values = [chance.gauss(0, 1)]
    while len(values) < count:
        values.append(0.5 * values[-1] + chance.gauss(0, 1))
    return values


UNIMODAL: dict[str, Callable[[random.Random, int], Sequence[float]]] = {
    "normal": lambda chance, count: [chance.gauss(90, 2) for _ in range(count)],
    "even": lambda chance, count: [chance.uniform(80, 100) for _ in range(count)],
    "tailed": lambda chance, count: [chance.expovariate(0.1) for _ in range(count)],
    "wandering": wandering,
    "drifting": lambda chance, count: [80 + n / count + chance.gauss(0, 0.1) for n in range(count)],
    "outliers": lambda chance, count: [
        chance.gauss(90, 2) if chance.random() > 0.03 else 10.0 for _ in range(count)
    ],
}


@pytest.mark.parametrize("count", [5, 30, 150])
def test_one_mode_is_not_two(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance, alarms = random.Random(count), {}
    for name, values in UNIMODAL.items():
        found = [modes(values(chance, count)) for _ in range(EXPERIMENTS)]
        alarms[name] = sum(len(each) == 2 for each in found)
    with capsys.disabled():
        print(f"\n{count} values, false alarms of {EXPERIMENTS}: {alarms}")
    assert max(alarms.values()) <= 2


@pytest.mark.parametrize(
    ("low", "deviation", "share"), [(81, 2, 0.5), (81, 3, 0.3), (96, 0.4, 0.2)]
)
def test_two_modes_are_found(
    low: float, deviation: float, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Throughput that is 81 or 99 Gbit/s: by 90, its mean, nobody would know."""
    chance, found = random.Random(2), []
    for _ in range(EXPERIMENTS):
        values = [
            chance.gauss(low if chance.random() < share else 99, deviation) for _ in range(150)
        ]
        found.append(modes(values))
    two = [each for each in found if len(each) == 2]
    with capsys.disabled():
        print(f"\n{low} or 99, each by {deviation}: found {len(two) / EXPERIMENTS:.0%}")
    assert len(two) >= 0.95 * EXPERIMENTS
    for slow, fast in two:
        assert abs(slow.value - low) < deviation
        assert abs(fast.value - 99) < deviation
        assert abs(slow.share - share) < 0.15
        assert slow.share + fast.share == pytest.approx(1)


def test_seconds_of_a_standstill_hide_no_modes() -> None:
    """As a machine counted it that was busy with other work: 38 s of one mode, 22 of the other."""
    chance = random.Random(4)
    values = [chance.gauss(9900, 100) for _ in range(36)] + [2605.0, 17809.0]
    low, high = modes([chance.gauss(8100, 100) for _ in range(22)] + values)
    assert (round(low.value, -2), round(high.value, -2)) == (8100, 9900)


def test_what_separates_modes_is_told() -> None:
    chance = random.Random(3)
    slow = [chance.random() < 0.4 for _ in range(100)]
    values = [chance.gauss(81 if each else 99, 2) for each in slow]
    counters = {
        "plimit drops": [chance.gauss(900 if each else 0, 50) for each in slow],
        "softirq": [chance.gauss(1, 0.2) for _ in slow],
    }
    (told,) = separators(values, modes(values), counters)
    assert told.name == "plimit drops"
    assert told.in_low > 800 > 100 > told.in_high
    assert told.sureness == 1.0
    with pytest.raises(ValueError, match="1 modes"):
        separators([1.0] * 5, modes([1.0] * 5), {})
    assert modes([]) == ()


def card(rx: Sequence[int], dropped: int, root: int, interrupts: int) -> CardSample:
    """Of 1,000-byte packets, by queue."""
    totals = {"rx_packets": sum(rx), "rx_bytes": 1000 * sum(rx), "rx_dropped": dropped}
    return CardSample(
        "eth0",
        totals,
        rx={number: {"packets": packets} for number, packets in enumerate(rx)},
        qdiscs={"root": {"drops": root}, "tx-0": {"drops": root}},
        interrupts={24: {0: interrupts}},
    )


def test_measures_are_of_the_window() -> None:
    times = {"user": 50, "system": 100, "irq": 20, "softirq": 130, "idle": 700}
    window = Sample(
        12.0,
        {0: times, 1: {"idle": 1000}},
        {3: card([700_000, 200_000, 100_000], 30, 20, 5000)},
        {"TcpRetransSegs": 40},
        seconds=10.0,
    )
    found = measured(window, 3, watts=20.0)
    assert found == pytest.approx(
        {
            "gbit_s": 0.8,
            "packets_s": 100_000,
            "drops_s": 5,
            "retransmits_s": 4,
            "cpus_busy": 0.3,
            "cpus_softirq": 0.15,
            "cpus_system": 0.1,
            "cpus_user": 0.05,
            "cpu_us_per_packet": 3.0,
            "cpu_ns_per_byte": 3.0,
            "drops_per_million": 50,
            "interrupts_s": 500,
            "interrupts_per_packet": 0.005,
            "rx_imbalance": 2.1,
            "gbit2_per_cpu": 0.64 / 0.3,
            "watts": 20,
            "gbit2_per_watt": 0.032,
        }
    )
    assert found.keys() <= MEASURES.keys()
    idle = measured(Sample(1.0, seconds=1.0), 3)
    assert idle["packets_s"] == 0
    assert "cpu_us_per_packet" not in idle


def test_energy_is_of_packages_and_begins_anew(tmp_path: Path) -> None:
    for zone, name, energy in (
        ("intel-rapl:0", "package-0", 990),
        ("intel-rapl:0:0", "core", 500),
        ("intel-rapl:1", "package-1", 100),
    ):
        place = tmp_path / "sys/class/powercap" / zone
        place.mkdir(parents=True)
        (place / "name").write_text(f"{name}\n")
        (place / "energy_uj").write_text(f"{energy}000000\n")
        (place / "max_energy_range_uj").write_text("1000000000\n")
    before, wraps = read_energy(Files(str(tmp_path)))
    after = {"intel-rapl:0": 10_000_000, "intel-rapl:1": 140_000_000}
    assert before.keys() == after.keys()
    assert watts(before, after, wraps, 10.0) == 6.0
    assert watts(before, {}, wraps, 10.0) == 0.0
    assert read_energy(Files(str(tmp_path / "none"))) == ({}, {})


IPERF3 = """{"start": {}, "end": {
 "streams": [{"sender": {"retransmits": 15, "max_rtt": 66, "min_rtt": 49, "mean_rtt": 57}}],
 "sum_sent": {"seconds": 1.997253, "bits_per_second": 16665363861.263445, "retransmits": 15},
 "sum_received": {"seconds": 1.997253, "bytes": 0, "bits_per_second": 0}},
 "error": "interrupt - the client has terminated"}"""
IPERF3_UDP = """{"end": {"streams": [{"udp": {}}],
 "sum": {"bits_per_second": 100124189.6, "jitter_ms": 0.0073, "lost_packets": 2, "packets": 200,
         "lost_percent": 1}}}"""
SOCKPERF = """sockperf: ====> avg-latency=6.221 (std-dev=17.640)
sockperf: Summary: Latency is 6.221 usec
sockperf: ---> <MAX> observation = 2346.313
sockperf: ---> percentile 99.900 =   29.068
sockperf: ---> percentile 99.000 =    8.021
sockperf: ---> percentile 50.000 =    5.688
"""
NETPERF = """THROUGHPUT=23456.7
THROUGHPUT_UNITS=Trans/s
MEAN_LATENCY=42.1
P99_LATENCY=61
MAX_LATENCY=812
LOCAL_TRANSPORT_RETRANS=-1
"""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            IPERF3,
            {
                "load_gbit_s": 16.665363861263445,
                "load_retransmits": 15,
                "latency_us": 57,
                "latency_max_us": 66,
            },
        ),
        (IPERF3_UDP, {"load_gbit_s": 0.1001241896, "jitter_us": 7.3, "load_lost_percent": 1}),
        (
            SOCKPERF,
            {
                "latency_us": 6.221,
                "latency_p50_us": 5.688,
                "latency_p99_us": 8.021,
                "latency_max_us": 2346.313,
            },
        ),
        (
            NETPERF,
            {
                "load_transactions_s": 23456.7,
                "latency_us": 42.1,
                "latency_p99_us": 61,
                "latency_max_us": 812,
            },
        ),
        ("{broken", {}),
        ("[1]", {}),
        ('{"end": {"sum_received": {"bits_per_second": NaN}, "streams": 3}}', {}),
        ('{"end": {"sum_received": {"bits_per_second": 1%s}}}' % ("0" * 400), {}),
        ("THROUGHPUT=inf\nTHROUGHPUT_UNITS=Trans/s\nMEAN_LATENCY=nan\n", {}),
        ("whatever\n", {}),
    ],
)
def test_loads_tell_of_themselves(output: str, told: dict[str, float]) -> None:
    found = told_by(output)
    assert found == pytest.approx(told)
    assert found.keys() <= MEASURES.keys()


def test_a_load_that_failed_is_an_error() -> None:
    with pytest.raises(NetunedError, match="unable to connect to server"):
        told_by('{"error": "unable to connect to server: Connection refused"}')


def runs_of(chance: random.Random, effect: float, count: int = 6) -> list[Run]:
    """Arms that move 10 Gbit/s by 1 %, the second ``effect`` times as much with as many drops."""
    return [
        Run(
            block,
            arm,
            {
                "gbit_s": 10 * (effect if arm else 1) * math.exp(chance.gauss(0, 0.01)),
                "drops_s": 0.0,
            },
        )
        for block in range(count)
        for arm in (0, 1)
    ]


def test_the_verdict_is_a_sentence() -> None:
    told = outcome(("none", "fast"), runs_of(random.Random(1), 1.2), "gbit_s", 1)
    assert [row.measure for row in told.rows] == ["gbit_s", "drops_s"]
    assert told.verdict.startswith("fast against none: gbit_s 11.96 against 10.01, +19.7 %")
    assert told.verdict.endswith("at 95 %): better, and more than noise.")
    worse = outcome(("none", "slow"), runs_of(random.Random(1), 0.8), "gbit_s", 1)
    assert worse.verdict.endswith("worse, and more than noise.")
    same = outcome(("none", "same"), runs_of(random.Random(1), 1.0), "gbit_s", 1)
    assert "not more than noise" in same.verdict
    few = outcome(("none", "fast"), runs_of(random.Random(1), 1.2, 3), "gbit_s", 1)
    assert few.verdict.endswith("fewer than 5 runs tell nothing.")
    with pytest.raises(NetunedError, match="name one of gbit_s, drops_s"):
        outcome(("none", "fast"), runs_of(random.Random(1), 1.2), "watts", 1)


def test_a_block_that_was_cut_short_counts_for_nothing() -> None:
    runs = runs_of(random.Random(1), 1.2)
    assert outcome(("none", "fast"), runs[:-1], "gbit_s", 1).blocks == 5
    with pytest.raises(NetunedError, match="fewer than two runs"):
        outcome(("none", "fast"), runs[:3], "gbit_s", 1)


def test_modes_of_an_arm_are_told_with_what_separates_them() -> None:
    chance, runs = random.Random(5), []
    for block in range(6):
        for arm in (0, 1):
            slow = [bool(arm) and chance.random() < 0.4 for _ in range(60)]
            steps = [
                {"gbit_s": chance.gauss(81 if s else 99, 1), "drops_s": 900.0 if s else 0.0}
                for s in slow
            ]
            means = {name: sum(s[name] for s in steps) / 60 for name in ("gbit_s", "drops_s")}
            runs.append(Run(block, arm, means, tuple(steps)))
    told = outcome(("none", "b"), runs, "gbit_s", 1)
    (two,) = told.two_modes
    assert (two.arm, two.within_a_run) == (1, True)
    assert abs(two.low.value - 81) < 1
    assert abs(two.high.value - 99) < 1
    assert two.separators[0].name == "drops_s"
    assert told.verdict.endswith("b has two modes: its medians hide them.")


def test_a_terminal_shows_verdict_and_table() -> None:
    found = outcome(("none", "fast"), runs_of(random.Random(1), 1.2), "gbit_s", 1)
    lines = show(found, Screen(width=80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("fast against none: gbit_s")
    assert [line.split() for line in lines[-2:]] == [
        ["gbit_s", "10.01", "11.96", "+19.7", "%", "+18.7…+20.9", "%", "enough"],
        ["drops_s", "0", "0", "+0", "+0…+0", ">1000"],
    ]


def test_a_page_shows_each_run_and_takes_names_as_text() -> None:
    runs = runs_of(random.Random(1), 1.2)
    found = outcome(("none", "<b>fast"), runs, "gbit_s", 1)
    text = "".join(html(found, runs, "eth0", 0.0))
    assert escape(found.verdict) in text
    assert text.count("<circle") == len(runs)
    assert text.count("<svg") == 2
    assert "<b>" not in text
    assert "&lt;b&gt;fast against none" in text
    assert '<tr class="differs"><th scope="row">gbit_s</th>' in text
    assert "<script" not in text


def test_arms_are_profiles_nothing_or_keys() -> None:
    arms = arms_of(["none", "fast"], [["qdisc.kind=fq", "qdisc.flow_limit=100", "rps.cpus=0-1,4"]])
    assert [arm.name for arm in arms] == [
        "none",
        "fast",
        "qdisc.kind=fq qdisc.flow_limit=100 rps.cpus=0-1,4",
    ]
    assert text_of(arms[2].content, {"name": "eth0"}, 1000).splitlines()[1:] == [
        "match:",
        "- {name: eth0}",
        "priority: 1000",
        "qdisc:",
        "  kind: fq",
        "  flow_limit: 100",
        "rps:",
        "  cpus: 0-1,4",
    ]
    assert text_of(arms[1].content, {"name": "eth0"}, 1000).endswith('extends: ["fast"]\n')


@pytest.mark.parametrize(
    ("profiles", "settings", "said"),
    [
        (["none"], [], "two or more"),
        (["a", "a"], [], "a is there twice"),
        ([str(n) for n in range(9)], [], "8 at most"),
        (["a"], [["qdisc.kind"]], "is not KEY=VALUE"),
        (["a"], [["qdisc..kind=fq"]], "is not KEY=VALUE"),
        (["a"], [["rps=a\nb"]], "is not KEY=VALUE"),
        (["a"], [["qdisc=keep", "qdisc.kind=fq"]], "has a value already"),
        (["a"], [["qdisc.kind=fq", "qdisc=keep"]], "has a value already"),
    ],
)
def test_what_is_no_arm_is_an_error(
    profiles: list[str], settings: list[list[str]], said: str
) -> None:
    with pytest.raises(NetunedError, match=said):
        arms_of(profiles, settings)


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "netuned.experiment.comparison")
    monkeypatch.delitem(sys.modules, "netuned.experiment.outcome")
    words = ["a", "b", "--card", "lo", "--live"]
    with pytest.raises(NetunedError, match="apt install python3-scipy"):
        run(make_parser(["experiment"]).parse_args(["experiment", *words]))


def test_nobody_else_imports_scipy() -> None:
    """Neither what the daemon imports nor what other commands do."""
    others = [name for name in COMMANDS if name != "experiment"]
    lines = [f"import netuned.cli.{name}" if name != "import" else "" for name in others]
    script = "\n".join(["import netuned.daemon", *lines])
    told = "import sys; print({'scipy', 'numpy'} & sys.modules.keys())"
    words = [sys.executable, "-c", f"{script}\n{told}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"
