"""What ``netunedctl top`` makes of two samples: rows, their order, and lines that fit."""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from dataclasses import replace

import pytest

from netuned.cli import top
from netuned.cli.text import Screen
from netuned.counters.sample import CardSample, Sample
from netuned.errors import NetunedError
from netuned.kernel import readers
from netuned.top.lines import WIDE, bars, fitted, layout, short
from netuned.top.rows import CARD, CPU, NAME, QUEUE, VIEWS, Frame, Known, Row, arranged, frame
from tests.unit.machines import nic, topology, veth, virtio

HOST = topology(nodes=2, cores=2, threads=1)
"""CPUs 0 and 1 are of node 0, 2 and 3 of node 1."""
NASTY = "a\x1b[2J\n\udcff=\u202e"


def cpu(softirq: int = 0, processed: int = 0, **more: int) -> dict[str, int]:
    """Counts of one over two seconds, of which 200 hundredths passed."""
    counts = {"user": 0, "idle": 200 - softirq, "iowait": 0, "softirq": softirq}
    return {**counts, "processed": processed, **more}


LAN = CardSample(
    "lan0",
    {"rx_packets": 300, "rx_bytes": 3000, "tx_packets": 20, "tx_bytes": 200, "rx_dropped": 4,
     "rx_missed_errors": 6},
    rx={0: {"packets": 100, "bytes": 1000, "drops": 2, "hw_drops": 2}, 1: {"packets": 200}},
    qdiscs={"root": {"drops": 2, "qlen": 9}, "tx-0": {"packets": 20, "drops": 2, "qlen": 9}},
    interrupts={200: {0: 1, 3: 40}, 201: {1: 0}},
)  # fmt: skip
HAPPENED = Sample(
    50.0,
    {
        0: cpu(10, 30), 1: cpu(0), 2: cpu(0, received_rps=8, dropped=6, squeezed=4, backlog=5),
        3: cpu(100, 270, ksoftirqd=10**9),
    },
    {2: LAN},
    missing={"/proc/stat": "no"},
    seconds=2.0,
)  # fmt: skip
NICS = {2: nic(2, "lan0", queues=2)}
READERS = {3: ("nginx 77", "redis 5"), 0: ("nginx 77",)}


def shown(nics: object = NICS, happened: Sample = HAPPENED) -> Frame:
    return frame(happened, Known(HOST, nics), READERS)  # type: ignore[arg-type]


def rows(found: Frame, view: str) -> list[Row]:
    """All of a view, in order."""
    return list(found.rows[view].values())


def test_a_cards_row() -> None:
    (row,) = rows(shown(), CARD)
    assert row.numbers == {
        "rx_packets": 150, "rx_bytes": 1500, "tx_packets": 10, "tx_bytes": 100, "interrupts": 20.5,
        "softirq": 50, "drops": 6, "backlog": 9,
    }  # fmt: skip
    assert (row.cpu, str(row.cpus), row.node, str(row.l3)) == (3, "0,3", 0, "2-3")
    assert set(row.processes) == {"nginx 77", "redis 5"}


def test_a_queues_row() -> None:
    """One loss is told by three names; sending is counted by the leaf; an idle one has a place."""
    first, second = rows(shown(), QUEUE)
    assert first.numbers == {
        "rx_packets": 50, "rx_bytes": 500, "tx_packets": 10, "interrupts": 20.5, "softirq": 50,
        "drops": 2, "backlog": 9,
    }  # fmt: skip
    assert (first.label, first.cpu, str(first.cpus), first.node) == ("lan0 0", 3, "0,3", 1)
    assert first.processes == READERS[3]
    assert (second.numbers["interrupts"], second.cpu, str(second.cpus)) == (0, 0, "0")
    assert "drops" not in second.numbers


def test_receiving_says_on_which_cpu_a_queue_is() -> None:
    card = CardSample("lan0", interrupts={200: {1: 3}, 201: {2: 90}, 202: {}, 203: {2: 90}})
    happened = replace(HAPPENED, cards={2: card})
    first, second = rows(shown({2: virtio(2, "lan0", queues=2)}, happened), QUEUE)
    assert (first.cpu, str(first.cpus), first.numbers["interrupts"]) == (1, "1-2", 46.5)
    assert (second.cpu, str(second.cpus)) == (2, "2")


def test_a_card_without_interrupts_has_no_cpu() -> None:
    happened = replace(HAPPENED, cards={2: CardSample("lan0", {"rx_packets": 2})})
    found = shown({2: veth(2, "lan0", queues=1)}, happened)
    (card,), (queue,) = rows(found, CARD), rows(found, QUEUE)
    assert (card.cpu, card.numbers) == (-1, {"rx_packets": 1.0, "drops": 0.0})
    assert (queue.cpu, queue.numbers, queue.node) == (-1, {}, -1)
    assert "interrupts" not in rows(found, CPU)[0].numbers


def test_a_cpus_row() -> None:
    cpus = rows(shown(), CPU)
    assert [row.label for row in cpus] == ["0", "1", "2", "3"]
    assert cpus[3].numbers == {
        "packets": 135, "bytes": 500, "interrupts": 20, "softirq": 50, "busy": 50, "ksoftirqd": 50,
    }  # fmt: skip
    assert (cpus[3].queues, cpus[0].queues) == ("lan0 0", "lan0 1")
    numbers = cpus[2].numbers
    assert [numbers[n] for n in ("received_rps", "drops", "squeezed", "backlog")] == [4, 3, 2, 5]


def test_order_and_filter() -> None:
    view, found = VIEWS[CPU], shown()

    def labels(**how: object) -> str:
        return "".join(str(cpu) for _, cpu in arranged(view, found, **how))  # type: ignore[arg-type]

    assert labels() == "3012"
    assert labels(inverted=True) == "1203"
    assert labels(sort="bytes", inverted=False)[:1] == "3"
    assert labels(sort=NAME) == "0123"
    assert labels(sort=NAME, inverted=True) == "3210"
    assert labels(needle="NGINX") == "30"
    assert labels(needle="lan0 1") == "0"
    assert labels(needle="nobody") == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (999.4, "999"), (999.6, "1.00k"),
     (1234, "1.23k"), (12345, "12.3k"), (999_499, "999k"), (999_500, "1.00M"), (1.5e10, "15.0G"),
     (2**64, "18.4E"), (1e22, "10000E")],
)  # fmt: skip
def test_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text


def test_bars_are_of_the_last() -> None:
    assert bars([9, 0, 1, 4, 8], 4) == " ▁▄█"
    assert bars([1], 3) == "  █"
    assert bars([0, 0], 3) == "   "
    assert bars([50], 1, 100) == "▄"
    assert bars([1e-9, 1], 2) == "▁█"


@pytest.mark.parametrize("width", [20, 80, 120, 200])
@pytest.mark.parametrize("view", VIEWS)
def test_lines_fit(width: int, view: str) -> None:
    """With the longest name that there is, and one that would steer a terminal."""
    nics = {2: nic(2, "enp129s0f1np12", queues=40), 3: nic(3, NASTY)}
    cards = {2: replace(LAN, name=nics[2].name), 3: replace(LAN, name=NASTY)}
    found = shown(nics, replace(HAPPENED, cards=cards))
    laid = layout(VIEWS[view], found.widest[view], width, past=True)
    lines = [laid.header(), *(laid.line(row, "-" * laid.past) for row in rows(found, view))]
    assert len({len(line) for line in lines}) == 1, "columns are under their titles"
    assert len(lines[0]) <= max(width, 77)
    assert all(line.isprintable() for line in lines)
    assert bool(laid.past) == (width >= WIDE)
    assert all(column.title in laid.header() for column in VIEWS[view].columns)


def test_the_title_at_a_place_is_that_columns() -> None:
    laid = layout(VIEWS[CARD], 4, 80)
    header = laid.header()
    for column in VIEWS[CARD].columns:
        at = header.index(f" {column.title} ") + 1
        assert laid.column_at(at) == laid.column_at(at + len(column.title) - 1) == column.name
    assert laid.column_at(0) == laid.column_at(79) == ""


def test_wide_letters_take_two_columns() -> None:
    assert fitted("网卡", 5) == "网卡 "
    assert fitted("网卡网卡", 5) == "网卡…"
    assert fitted("abcdef", 5) == "abcd…"


def test_json_has_every_view_and_what_is_not_known_is_null() -> None:
    found = json.loads(json.dumps(top.as_json(shown())))
    assert found["missing"] == {"/proc/stat": "no"}
    assert found["seconds"] == 2.0
    assert [row["queue"] for row in found["queues"]] == [1, 0], "the busiest first"
    assert found["queues"][0]["rx_bytes"] is None
    assert found["cards"][0]["cpus_value"] == [0, 3]
    assert [row["cpu"] for row in found["cpus"]] == [3, 0, 1, 2]
    assert found["cpus"][0]["processes"] == ["nginx 77", "redis 5"]
    by_rps = top.as_json(shown(), sort="received_rps")
    assert by_rps["cpus"][0]["cpu"] == 2


def test_csv_is_a_table_of_one_view(capsys: pytest.CaptureFixture[str]) -> None:
    renamed = [replace(row, card=NASTY) for row in rows(shown(), CARD)]
    for header in (True, False):
        top._print_csv(VIEWS[CARD], renamed, header=header)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("time,card,ifindex,node,l3,rx_packets")
    assert [line.split(",")[1:6] for line in lines] == 2 * [
        [r"a\x1b[2J\n\xff=\u202e", "2", "0", "2-3", "150.0"]
    ]


def test_a_table_says_what_is_not_known() -> None:
    view, found = VIEWS[CPU], shown()
    text = top.show(view, found, [found.rows[CPU][key] for key in arranged(view, found)], Screen())
    head, titles, first, *_, last = text.splitlines()
    assert head.endswith("per second over 2.0 s:")
    assert titles.split()[:3] == ["CPU", "PKT", "B"]
    assert first.split()[:5] == ["3", "135", "500", "20", "50"]
    assert last == "Not known: /proc/stat (no)"


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "x"], ["--by", "host"],
                                   ["--json", "--csv"], ["--sort", "speed"]])  # fmt: skip
def test_wrong_usage(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    top.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(words)


def test_a_column_of_another_view_is_refused() -> None:
    parser = argparse.ArgumentParser()
    top.add_arguments(parser)
    with pytest.raises(NetunedError, match="no column by card named received_rps"):
        top.run(parser.parse_args(["--sort", "received_rps", "--once"]))


def test_processes_are_found_by_their_sockets() -> None:
    """Of this process there is none at first, then there is; threads that slept are not there."""
    pid = str(os.getpid())
    assert not readers._has_network("0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        assert readers._has_network(pid)
        found = readers.Readers()
        seen = found.look()
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        found.look()
        others = readers.Readers(but=os.getpid()).look().values()
        assert not any(name.endswith(f" {pid}") for names in others for name in names)
    ran = [ns for by_name in found.ran.values() for name, ns in by_name.items()
           if name.endswith(f" {pid}")]  # fmt: skip
    assert 5e7 <= sum(ran) < 5e9, "nanoseconds"
    here = [name for names in seen.values() for name in names if name.endswith(f" {pid}")]
    assert len(set(here)) == 1
