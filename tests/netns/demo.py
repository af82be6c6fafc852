"""``make demo``: the daemon on veth cards in a namespace of its own, shown step by step."""

from __future__ import annotations

import sys
import time

from tests.netns.lab import Lab

PROFILE = """\
name: edge
description: All queues open, receive work on CPU 0 and 1, a qdisc of its own for every queue
match:
  - {kind: veth, name: lan0}
channels: {combined: max}
rps: {cpus: 0-1}
xps: {cpus: auto}
qdisc: {QDISC}
"""
FQ, PFIFO = "{kind: fq, flow_limit: 1000}", "{kind: pfifo, limit: 500}"


def main() -> int:
    start = time.monotonic()
    with Lab() as lab:
        lab.add_pair("lan0", "peer0", queues=8)
        fq = lab.run("tc", "qdisc", "replace", "dev", "peer0", "root", "fq", check=False)
        profile = PROFILE.replace("{QDISC}", PFIFO if fq.returncode else FQ)
        lab.run("ethtool", "-L", "lan0", "rx", "2", "tx", "2")
        lab.start()
        _show(
            "A network namespace with a pair of 8-queue veth cards, and netuned without a profile"
        )
        _ctl(lab, "status")

        _show("The profile")
        print(profile)
        draft = lab.directory / "edge.yaml"
        draft.write_text(profile)
        draft.chmod(0o644)
        _ctl(lab, "check", str(draft))

        _show("What it would do: the plan, asked for with enforcement off")
        lab.profile("edge", profile + "policy: {enforce: no}\n")
        lab.wait_state("lan0", "drifted")
        _ctl(lab, "plan")

        _show("Dropped into profiles.d with enforcement on: in force")
        dropped = time.monotonic()
        lab.profile("edge", profile)
        lab.wait_state("lan0", "in-sync")
        print(f"in sync {1000 * (time.monotonic() - dropped):.0f} ms after the drop")
        _ctl(lab, "status", "lan0")

        _show("Somebody breaks it from outside; netuned puts it back")
        for what, broken, path in (
            ("echo 0 > rx-3/rps_cpus", "0", "queues/rx-3/rps_cpus"),
            ("echo 3 > tx-5/xps_cpus", "3", "queues/tx-5/xps_cpus"),
        ):
            before = lab.shell(f"cat /sys/class/net/lan0/{path}").strip()
            took = lab.run(
                sys.executable, "-m", "tests.netns.breaker", f"/sys/class/net/lan0/{path}", broken
            ).stdout.strip()
            print(f"  {what:28} was {before}, broken, restored after {took}")
        start_us = time.monotonic()
        lab.run("tc", "qdisc", "replace", "dev", "lan0", "root", "bfifo")
        lab.wait(lambda: "qdisc mq" in lab.shell("tc qdisc show dev lan0 root"), "mq again")
        print(
            f"  tc qdisc replace root bfifo  restored within "
            f"{1000 * (time.monotonic() - start_us):.0f} ms (with the commands' own time)"
        )
        lab.wait_state("lan0", "in-sync")

        _show("What the log says")
        print("".join(f"  {line}\n" for line in lab.logged().splitlines() if "Repaired" in line))
    print(
        f"Done in {time.monotonic() - start:.1f} s; the namespace, its cards and the bus are gone."
    )
    return 0


def _show(title: str) -> None:
    print(f"\n== {title}", flush=True)


def _ctl(lab: Lab, *arguments: str) -> None:
    print(f"$ netunedctl {' '.join(arguments)}")
    answer = lab.ctl(*arguments, check=False)
    print(answer.stdout + answer.stderr, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
