"""Each query of the dashboard and of the alerts, asked of a real Prometheus that scrapes netuned.

A daemon in a namespace, its exporter, and the distribution's Prometheus. Beside it an exporter
tells of a host that is made up: cards whose drivers count what those in a namespace do not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

from tests.netns.lab import Lab
from tests.unit.test_units import ROOT, UNITS, skip

pytestmark = pytest.mark.netns

PROGRAM = shutil.which("prometheus") or str(Path(sys.executable).with_name("prometheus"))
BOARD = json.loads((UNITS / "netuned.dashboard.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RULES = yaml.safe_load((UNITS / "netuned.rules.yml").read_text())["groups"][0]["rules"]
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "1m"}
CONFIG = f"""
global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}
rule_files: [{UNITS}/netuned.rules.yml]
scrape_configs:
  - {{job_name: real, static_configs: [{{targets: ["127.0.0.1:9986"]}}]}}
  - {{job_name: made, static_configs: [{{targets: ["127.0.0.1:9987"]}}]}}
"""
MADE = """
from netuned.metrics import counts, exporter
from tests.unit.test_metrics import SAMPLE, Fixed
exporter.server(Fixed(*counts.families(SAMPLE)), "127.0.0.1:9987").serve_forever()
"""
ASK = """
import encodings.idna, json, sys
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen
for line in sys.stdin:
    path, query = json.loads(line)
    try:
        with urlopen(f"http://127.0.0.1:9090/{path}?{urlencode(query)}", timeout=20) as answer:
            text = answer.read()
    except HTTPError as error:
        text = error.read()
    except OSError as error:
        text = str(error).encode()
    print(json.dumps(text.decode()), flush=True)
"""
EDGE = 'match: [{kind: veth, name: "*an0"}]\nrps: {cpus: 0-1}\n'
NEW = "match: [{kind: veth, name: wan0}]\nrps: {cpus: 0}\npriority: 60\n"
AMISS = "match: [{kind: veth, name: bad0}]\nrps: {cpus: 0-1}\n"


LATE = {"NetunedRepairsOften", "NetunedSqueezed", "NetunedProfilesDiffer"}
"""Alerts that take an hour or a fleet: here of any number."""


class Prometheus:
    """The distribution's, in a lab's namespace, and who asks it there."""

    def __init__(self, lab: Lab) -> None:
        if not Path(PROGRAM).exists():
            skip("needs prometheus: apt install prometheus")
        self._lab = lab
        self._begun: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        config = self._lab.directory / "prometheus.yml"
        config.write_text(CONFIG)
        self._begin(sys.executable, "-m", "netuned.metrics", "--counters")
        self._begin(sys.executable, "-c", MADE)
        where = ("--storage.tsdb.path", str(self._lab.directory / "tsdb"))
        listen = ("--web.listen-address", "127.0.0.1:9090")
        self._begin(PROGRAM, "--config.file", str(config), *where, *listen, "--log.level=error")
        self._asking = self._begin(sys.executable, "-c", ASK)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in self._begun:
            process.kill()
            process.communicate()

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self._lab.command(*words), stdin=pipe, stdout=pipe, cwd=ROOT, env=self._lab.environment
        )
        self._begun.append(process)
        return process

    def get(self, path: str, **query: str) -> str:
        """What it answers, or why it does not."""
        assert self._asking.stdin
        assert self._asking.stdout
        self._asking.stdin.write(json.dumps([path, query]).encode() + b"\n")
        self._asking.stdin.flush()
        text: str = json.loads(self._asking.stdout.readline())
        return text

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has now. Raises: AssertionError if it is none."""
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        answer = json.loads(self.get("api/v1/query", query=expression))
        assert answer["status"] == "success", f"{expression}: {answer['error']}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def wait(self, expression: str) -> None:
        """Until it has a series."""
        self._lab.wait(lambda: self.ask(expression), expression, 60, every_s=0.2)

    def empty(self) -> set[str]:
        """The panels that show nothing now."""
        return {
            panel["title"]
            for panel in PANELS
            if not all(self.ask(target["expr"]) for target in panel["targets"])
        }


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        for card in ("lan0", "wan0", "bad0"):
            made.add_pair(card, f"peer-{card}", queues=2)
        made.profile("edge", EDGE)
        yield made


def test_every_panel_and_alert_has_what_it_asks_for(lab: Lab) -> None:
    lab.start()
    lab.wait_state("lan0", "in-sync")
    with Prometheus(lab) as prometheus:
        lab.wait(lambda: "Ready" in prometheus.get("-/ready"), "Prometheus", 60)
        for job in ("real", "made"):
            prometheus.wait(f'count_over_time(up{{job="{job}"}}[1m]) > 2')
        prometheus.wait("netuned_up == 1")
        assert not prometheus.ask("up == 0")
        may_be_empty = {
            panel["title"] for panel in PANELS if "noValue" in panel["fieldConfig"]["defaults"]
        }
        healthy = prometheus.empty()
        assert healthy <= may_be_empty, "on a host where all is well"

        seen = {panel["title"] for panel in PANELS} - healthy
        for step in (fail, fight, change):
            step(lab, prometheus)
            seen |= {panel["title"] for panel in PANELS} - prometheus.empty()
        expressions = {rule["alert"]: rule["expr"] for rule in RULES}
        fires = {alert for alert, expression in expressions.items() if prometheus.ask(expression)}
        for alert in LATE:
            least, _, _ = expressions[alert].rpartition(" > ")
            assert prometheus.ask(f"{least} >= 0"), alert
        lab.stop()
        prometheus.wait("netuned_up == 0")
        seen |= {panel["title"] for panel in PANELS} - prometheus.empty()
        assert seen == {panel["title"] for panel in PANELS}
        fires |= {alert for alert, expression in expressions.items() if prometheus.ask(expression)}
        assert fires >= expressions.keys() - LATE
        groups = json.loads(prometheus.get("api/v1/rules"))["data"]["groups"]
        told = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        assert told == dict.fromkeys(expressions, "ok")


def fail(lab: Lab, prometheus: Prometheus) -> None:
    """A card whose writes are refused, and a profile with a mistake."""
    assert lab.daemon
    target = "/sys/class/net/bad0/queues/rx-0/rps_cpus"
    stand_in = lab.directory / "stand-in"
    stand_in.write_text("0\n")
    inside = ("nsenter", "-t", str(lab.daemon.pid), "-m", "mount")
    subprocess.run([*inside, "--bind", str(stand_in), target], check=True)
    subprocess.run([*inside, "-o", "remount,ro,bind", target], check=True)
    lab.profile("bad", AMISS)
    lab.profile("wrong", "irq: {spread: al}\n")
    prometheus.wait('netuned_card_state{state="degraded"} == 1')
    prometheus.wait("netuned_profile_errors > 0")
    prometheus.wait("sum(increase(netuned_setting_failures_total[1m])) > 0")


def fight(lab: Lab, prometheus: Prometheus) -> None:
    """A setting that somebody changes again and again."""
    write = "while sleep 0.05; do echo 0 >/sys/class/net/lan0/queues/rx-0/rps_cpus; done"
    with subprocess.Popen(lab.command("sh", "-c", write)) as writer:
        try:
            prometheus.wait("netuned_setting_contended == 1")
            prometheus.wait("sum(increase(netuned_setting_repairs_total[1m])) > 0")
        finally:
            writer.kill()


def change(lab: Lab, prometheus: Prometheus) -> None:
    """A change that waits to be confirmed, as a drop-in of the settings wants it."""
    drop_in = lab.directory / "netuned.yaml.d/50-fleet.yaml"
    drop_in.parent.mkdir(mode=0o755)
    drop_in.write_text("confirm_timeout: 10min\n")
    drop_in.chmod(0o644)
    lab.ctl("reload", check=False)
    lab.profile("new", NEW)
    prometheus.wait("netuned_confirm_pending == 1")
