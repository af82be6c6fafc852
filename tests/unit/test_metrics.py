"""What Prometheus is told: names and units by its rules, bounded labels, and alerts on them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from netuned.cli.main import run
from netuned.counters.sample import CardSample, Sample
from netuned.errors import BusError, NetunedError
from netuned.metrics import collecting, counts, exporter, state
from netuned.status import (
    CARD_STATES,
    CONTENDED,
    DRIFTED,
    IN_SYNC,
    UNMANAGED,
    UNSUPPORTED,
    ManagerStatus,
    NicStatus,
    ProfileStatus,
    SettingStatus,
    Status,
)
from tests.unit.test_units import ROOT, UNITS, skip

PROMTOOL = shutil.which("promtool") or str(Path(sys.executable).with_name("promtool"))
STATUS = Status(
    ManagerStatus(
        "0.1.0",
        CONTENDED,
        (ProfileStatus("edge", "", "", 50, False, ("eth0",), "e36788cd7abb1e75"),),
        profile_errors=("x.yaml:3:5: irq: wrong",),
        pending_confirm="a1b2c3: eth0, until 12:00",
        settings=(SettingStatus("sysctl", DRIFTED, writes=1),),
        writes=41,
        loaded_at=1.8e9,
    ),
    (
        NicStatus(
            2,
            "eth0",
            "ice",
            "edge",
            CONTENDED,
            settings=(
                SettingStatus("irq", IN_SYNC, writes=8, repairs=3),
                SettingStatus("rps", CONTENDED, writes=20, repairs=19, writer="cron.service"),
                SettingStatus("rss", UNSUPPORTED, failures=2),
            ),
        ),
        NicStatus(3, 'e"\\\n\\xff', "veth", "edge", "a state of another version"),
        NicStatus(4, "veth1", "veth", "", UNMANAGED),
    ),
)
SAMPLE = Sample(
    1.0,
    cpus={0: {"softirq": 250, "net_rx": 7, "ksoftirqd": 5 * 10**8, "squeezed": 3, "dropped": 0}},
    cards={
        2: CardSample(
            "eth0",
            rx={0: {"packets": 1 << 40, "drops": 1, "hw_drops": 4}, 1: {"bytes": 9}},
            qdiscs={"root": {"packets": 5}, "tx-0": {"packets": 5, "drops": 2}},
            interrupts={60: {0: 5, 3: 1}, 61: {0: 2}},
        )
    },
    missing={"statistics of eth1": "EIO"},
)


class Fixed(collecting.Collecting):
    """Tells always the same."""

    def __init__(self, *found: Metric) -> None:
        super().__init__()
        self.found = found

    def collect(self) -> Iterator[Metric]:
        yield from self.found


ALL = Fixed(*state.families(STATUS), *counts.families(SAMPLE))


def told(of: collecting.Collecting = ALL) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> values of labels, by their names' order -> value, as Prometheus would read it."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parsed(collecting.text(of).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def promtool(*words: str, cwd: Path | None = None, text: bytes = b"") -> str:
    if not Path(PROMTOOL).exists():
        skip("needs promtool: apt install prometheus")
    done = subprocess.run([PROMTOOL, *words], capture_output=True, input=text, check=False, cwd=cwd)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_what_the_daemon_shows_is_told() -> None:
    found = told()
    assert found["netuned_up"] == {(): 1}
    assert found["netuned_build_info"] == {("0.1.0",): 1}
    assert found["netuned_profile_info"] == {("e36788cd7abb1e75", "edge"): 1}
    assert found["netuned_profiles_loaded_timestamp_seconds"] == {(): 1.8e9}
    assert found["netuned_confirm_pending"] == found["netuned_profile_errors"] == {(): 1}
    assert found["netuned_kernel_writes_total"] == {(): 41}
    states = found["netuned_card_state"]
    assert [at for at, value in states.items() if value] == [
        ("eth0", CONTENDED),
        ('e"\\\n\\xff', "a state of another version"),
    ]
    assert len([at for at in states if at[0] == "eth0"]) == len(CARD_STATES)
    assert found["netuned_setting_in_sync"] == {
        ("", "sysctl"): 0,
        ("eth0", "irq"): 1,
        ("eth0", "rps"): 0,
        ("eth0", "rss"): 0,
    }
    assert found["netuned_setting_contended"] == {("eth0", "rps", "cron.service"): 1}
    assert found["netuned_setting_repairs_total"]["eth0", "rps"] == 19
    assert not any("veth1" in at for family in found.values() for at in family)


def test_what_is_counted_is_told_by_queue_or_by_cpu() -> None:
    found = told()
    assert found["netuned_queue_receive_packets_total"] == {("eth0", "0"): 1 << 40}
    assert found["netuned_queue_receive_drops_total"] == {("eth0", "0"): 4}
    assert found["netuned_queue_transmit_packets_total"] == {("eth0", "0"): 5}
    assert found["netuned_queue_transmit_drops_total"] == {("eth0", "0"): 2}
    assert found["netuned_cpu_softirq_seconds_total"] == {("0",): 2.5}
    assert found["netuned_cpu_ksoftirqd_seconds_total"] == {("0",): 0.5}
    assert found["netuned_cpu_softnet_squeezed_total"] == {("0",): 3}
    assert found["netuned_cpu_card_interrupts_total"] == {("0",): 7, ("3",): 1}
    assert found["netuned_counters_missing"] == {(): 1}


def test_prometheus_has_no_word_against_it_in_either_form() -> None:
    assert promtool("check", "metrics", text=collecting.text(ALL)) == ""
    with serving(ALL) as address:
        form = "application/openmetrics-text; version=1.0.0"
        answer = urlopen(Request(f"http://{address}/metrics", headers={"Accept": form}))
        text = answer.read().decode()
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in open_metrics(text)}  # type: ignore[no-untyped-call]  # it has no types
    assert {"netuned_card_state", "netuned_setting_repairs"} <= names


def test_without_the_daemon_it_is_down_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(_: float) -> None:
        raise BusError("netuned is not running")

    monkeypatch.setattr(collecting, "Client", absent)
    collector = collecting.Collecting()
    assert told(collector) == told(collector) == {"netuned_up": {(): 0}}
    assert [record.getMessage() for record in caplog.records] == [
        "The daemon does not answer: netuned is not running"
    ]


def test_a_bus_that_says_nothing_is_not_waited_for_as_long_as_prometheus_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(collecting, "DAEMON_S", 0.1)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(f"{tmp_path}/bus")
        bus.listen()
        assert told(collecting.Collecting()) == {"netuned_up": {(): 0}}


class serving:
    """The server, in a thread, and its address."""

    def __init__(self, of: collecting.Collecting) -> None:
        self.server = exporter.server(of, "127.0.0.1:0")

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_who_is_slow_is_in_nobodys_way_and_a_failure_is_answered() -> None:
    class Failing(Fixed):
        def collect(self) -> Iterator[Metric]:
            raise NetunedError("it cannot")

    with (
        serving(ALL) as address,
        socket.create_connection(("127.0.0.1", int(address.split(":")[1]))) as slow,
    ):
        slow.send(b"GET /metrics HTTP/1.1\r\n")
        assert urlopen(f"http://{address}/metrics", timeout=10).read() == generate_latest(
            collecting.registry(ALL)
        )
    with serving(Failing()) as address, pytest.raises(HTTPError, match="500"):
        urlopen(f"http://{address}/metrics", timeout=10)


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("9986", "is not an address and a port"),
        ("127.0.0.1:99999", "is not an address and a port"),
        ("127.0.0.1:x", "is not an address and a port"),
        ("192.0.2.1:0", "cannot listen at 192.0.2.1:0: "),
    ],
)
def test_where_nothing_can_listen(listen: str, problem: str) -> None:
    with pytest.raises(NetunedError, match=problem):
        exporter.server(ALL, listen)


def test_a_file_for_node_exporter_is_whole_and_to_be_read_by_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "collector", lambda counters: ALL)
    file = tmp_path / "netuned.prom"
    assert run(["metrics", "--counters", "--out", str(file)]) == 0
    assert file.read_bytes() == collecting.text(ALL)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert run(["metrics"]) == 0
    assert capfd.readouterr().out == file.read_text()
    assert run(["metrics", "--out", str(tmp_path / "netuned.txt")]) == 1
    assert "reads only what ends in .prom" in capfd.readouterr().err


@pytest.mark.parametrize("module", ["netuned.metrics", "netuned.cli metrics"])
def test_without_prometheus_client_a_sentence_says_how_to_have_it(module: str) -> None:
    program, *words = module.split()
    script = (
        "import runpy, sys; sys.modules['prometheus_client'] = None; "
        f"sys.argv[1:] = {words}; runpy.run_module('{program}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"apt install python3-prometheus-client" in done.stderr
    assert b"Traceback" not in done.stderr


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    for path in (UNITS / "netuned.rules.yml", ROOT / "tests/unit/rules.yml"):
        shutil.copy(path, tmp_path)
    promtool("check", "rules", "--lint-fatal", "netuned.rules.yml", cwd=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "rules.yml", cwd=tmp_path)


def test_alerts_and_documents_name_what_is_told() -> None:
    names = told().keys()
    rules = (UNITS / "netuned.rules.yml").read_text()
    assert set(re.findall(r"\b(netuned_\w+)", rules)) <= names
    alerts = re.findall(r"alert: (\w+)", rules)
    assert alerts == re.findall(r"alertname: (\w+)(?!.*exp_alerts: \[\])", TESTED)
    board = json.loads((UNITS / "netuned.dashboard.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    assert set(re.findall(r"\b(netuned_\w+)", queries)) == names
    documented = (
        (ROOT / "docs/fleet.md").read_text().partition("\n## What Prometheus collects\n")[2]
    )
    assert {*re.findall(r"`(netuned_\w+)", documented)} == names
    assert {*re.findall(r"`(Netuned\w+)`", documented)} == set(alerts)


def test_of_the_dashboard_no_panel_lies_over_another() -> None:
    board = json.loads((UNITS / "netuned.dashboard.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in board["panels"]]
    assert len(titles) == len(set(titles))
    taken: set[tuple[int, int]] = set()
    for at in (panel["gridPos"] for panel in board["panels"]):
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_series_are_bounded_by_cards_queues_and_cpus_and_never_by_their_product() -> None:
    labels = {
        *((), ("version",), ("state",), ("cpu",), ("profile",), ("digest", "profile")),
        *(("device", "queue"), ("device", "state"), ("device", "setting")),
        *(("device", "driver", "profile"), ("device", "setting", "writer")),
    }
    found = [
        sample.labels
        for family in parsed(collecting.text(ALL).decode())
        for sample in family.samples
    ]
    assert {tuple(sorted(each)) for each in found} == labels
    cards, queues, cpus = 64, 128, 1024
    count = {"packets": 1, "drops": 0}
    card = CardSample(
        "eth0",
        rx=dict.fromkeys(range(queues), count),
        tx=dict.fromkeys(range(queues), count),
        interrupts={irq: {irq % cpus: 1, (irq + 1) % cpus: 1} for irq in range(queues)},
    )
    largest = Sample(
        1.0,
        cpus=dict.fromkeys(range(cpus), SAMPLE.cpus[0]),
        cards={n: replace(card, name=f"eth{n}") for n in range(cards)},
    )
    settings = STATUS.nics[0].settings
    nics = tuple(replace(STATUS.nics[0], name=f"eth{n}") for n in range(cards))
    series = sum(len(f.samples) for f in counts.families(largest))
    assert series <= 4 * cards * queues + 6 * cpus + 1
    series += sum(len(f.samples) for f in state.families(replace(STATUS, nics=nics)))
    assert series <= 40_000 + cards * 5 * len(settings), "as docs/fleet.md says"


TESTED = (ROOT / "tests/unit/rules.yml").read_text()


def test_a_card_with_nothing_in_force_is_told_of_while_it_is_to_be_put_back() -> None:
    left = replace(STATUS.nics[2], state="paused")
    found = told(Fixed(*state.families(replace(STATUS, nics=(left,)))))
    assert found["netuned_card_info"] == {("veth1", "veth", ""): 1}
