"""``python -m tests.netns.picture FILE``: Prometheus' own page of alerts, as netuned makes them.

A daemon in a namespace, of which a card fails, another is fought over and a profile has a mistake;
the distribution's Prometheus that scrapes it, and a headless Chromium beside them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.browser.__main__ import OPTIONS, program
from tests.netns.lab import Lab
from tests.netns.test_dashboard import EDGE, Prometheus, fail, fight

SIZE = (1100, 700)
BUDGET_MS = 20_000


def main(file: Path) -> None:
    with Lab() as lab:
        for card in ("lan0", "wan0", "bad0"):
            lab.add_pair(card, f"peer-{card}", queues=2)
        lab.profile("edge", EDGE)
        lab.start()
        lab.wait_state("lan0", "in-sync")
        with Prometheus(lab) as prometheus:
            lab.wait(lambda: "Ready" in prometheus.get("-/ready"), "Prometheus", 60)
            prometheus.wait("netuned_up == 1")
            fail(lab, prometheus)
            fight(lab, prometheus)
            shown = (
                *(program(), *OPTIONS, f"--window-size={SIZE[0]},{SIZE[1]}"),
                *(f"--virtual-time-budget={BUDGET_MS}", f"--screenshot={file.resolve()}"),
                "http://127.0.0.1:9090/classic/alerts",
            )
            subprocess.run(lab.command(*shown), check=True, capture_output=True, timeout=120)
    print(f"{file}: {file.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
