"""A change that drops the link over which the host is reached is warned of."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

EDGE = "match: {kind: veth, name: 'lan*'}\nchannels: {combined: 2}\n"
ROUTES = """\
ip address add 192.0.2.1/24 dev lan0; ip address add 198.51.100.1/24 dev lan1
ip route add default via 192.0.2.2
"""
SSH = "198.51.100.7 5 198.51.100.1 22"

RUN = """\
import contextlib, io, json, sys
from netuned.cli import main
done = []
for words in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        done.append((main.run(words.split()), said.getvalue()))
print(json.dumps(done))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pairs([("lan0", "peer0"), ("lan1", "peer1"), ("lan2", "peer2")], 4)
        made.shell(ROUTES)
        yield made


def run(lab: Lab, *commands: str) -> list[tuple[int, str]]:
    """In a session over lan1, of which sudo has left nothing in the environment."""
    script = 'SSH_CONNECTION="$0" sh -c \'env -u SSH_CONNECTION "$0" -c "$@"; exit $?\' "$@"'
    done = lab.run("sh", "-c", script, SSH, sys.executable, RUN, *commands)
    return [(status, " ".join(said.split())) for status, said in json.loads(done.stdout)]


def test_plan_check_and_apply_warn_of_it(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    file.write_text(EDGE)
    where = f"--profiles {lab.profiles}"
    plan, data, check = run(
        lab, f"plan {file} {where}", f"plan {file} {where} --json", f"check {file}"
    )
    assert plan[0] == check[0] == 0
    for said in (plan[1], check[1]):
        assert said.count("Warning: ") == 2
        assert "Warning: lan0 carries the default route, and loses its link for a while" in said
        assert "Warning: lan1 carries this SSH session, and loses its link for a while" in said
        assert "`netunedctl apply --confirm 60s lan0`" in said
    assert [said.split()[0] for said in json.loads(data[1])["warnings"]] == ["lan0", "lan1"]

    lab.start()
    lab.ctl("pause")
    lab.profile("edge", EDGE)
    lab.ctl("reload")
    applied = lab.ctl("apply", "--confirm", "60s", inside=True)
    assert "netunedctl: lan0 carries the default route, and loses its link" in applied.stderr
    assert "unless it is confirmed in time, it goes back" in applied.stderr
    assert "lan2" not in applied.stderr
    assert lab.status()["manager"]["pending_confirm"]


def test_enable_warns_of_any_change(lab: Lab) -> None:
    lab.profile("calm", "rps: {cpus: 0}\n")
    where = f"--profiles {lab.profiles} --yes"
    (done,) = run(lab, f"enable calm lan0 lan1 lan2 {where}")
    assert "Warning: lan0 carries the default route, and keeps its link: `--confirm" in done[1]
    assert "Warning: lan1 carries this SSH session, and keeps its link: `--confirm" in done[1]
    assert done[1].count("Warning: ") == 2
