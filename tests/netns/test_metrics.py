"""What Prometheus is told of a daemon that runs, by somebody without rights; and of its drift."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

SCRAPE = """
import encodings.idna, os, sys, threading
from urllib.request import urlopen
from netuned.metrics import collecting, exporter
collecting.text(collecting.collector(counters=True))  # imports what nobody may read
serving = exporter.server(collecting.collector(counters=True), "127.0.0.1:0")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
threading.Thread(target=serving.serve_forever, daemon=True).start()
for line in sys.stdin:
    text = urlopen(f"http://127.0.0.1:{serving.server_port}/metrics").read()
    print(len(text), flush=True)
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
"""
PROFILE = "match: [{kind: veth, name: lan0}]\nrps: {cpus: 0-1}\nqdisc: {kind: pfifo_fast}\n"


class Scraper:
    """Serves metrics in the namespace as user nobody, and asks for them there."""

    def __init__(self, lab: Lab) -> None:
        lab.directory.chmod(0o755)  # to reach the bus
        words = lab.command(sys.executable, "-c", SCRAPE)
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=lab.environment
        )

    def __call__(self) -> dict[tuple[str, ...], float]:
        """Name and labels' values -> value."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        text = self.process.stdout.read(int(self.process.stdout.readline())).decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parsed(text)
            for sample in family.samples
        }


def test_somebody_without_rights_is_told_of_state_repairs_and_counts() -> None:
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=4)
        lab.profile("edge", PROFILE)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        lab.shell("echo 0 >/sys/class/net/lan0/queues/rx-1/rps_cpus")
        lab.wait(lambda: lab.attribute("lan0", "rx-1", "rps_cpus") == "3", "the repair")
        lab.wait_state("lan0", "in-sync")
        scrape = Scraper(lab)
        found = scrape()
        assert found["netuned_up",] == found["netuned_card_state", "lan0", "in-sync"] == 1
        assert found["netuned_setting_repairs_total", "lan0", "rps"] == 1
        assert found["netuned_setting_in_sync", "lan0", "qdisc"] == 1
        assert found["netuned_profiles_loaded_timestamp_seconds",] > 1.7e9
        (digest,) = [at[1] for at in found if at[0] == "netuned_profile_info"]
        assert digest == lab.status()["manager"]["profiles"][0]["digest"]
        assert ("netuned_card_info", "lan0", "veth", "edge") in found
        assert not any("peer0" in at for at in found), "it has no profile"
        queues = {at[2] for at in found if at[0] == "netuned_queue_transmit_packets_total"}
        assert queues == {"0", "1", "2", "3"}
        assert found["netuned_cpu_net_rx_softirqs_total", "0"] > 0
        assert ("netuned_cpu_ksoftirqd_seconds_total", "0") in found
        assert found["netuned_counters_missing",] == 0
        lab.profile("edge", PROFILE + "policy: {enforce: no}\nxps: {cpus: auto}\n")
        lab.ctl("reload")
        assert any(at[:2] == ("netuned_setting_in_sync", "lan0") and not v
                   for at, v in scrape().items())  # fmt: skip
        collected = lab.directory / "web1.json"
        collected.write_text(lab.ctl("status", "--json").stdout)
        drift = lab.ctl("fleet", "drift", str(collected), "--json", "--exit-code", check=False)
        (group,) = json.loads(drift.stdout)["groups"]
        assert (drift.returncode, group["kind"], group["hosts"]) == (3, "drifted", ["web1"])
        lab.stop()
        assert {at: v for at, v in scrape().items() if "netuned_up" in at} == {("netuned_up",): 0}
        scrape.process.kill()
        scrape.process.wait()
