"""The pages for people: each of their commands is run, in order, on a card of that name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("start", "coming-from", "troubleshooting")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SESSION = """
set -e
mount -t tmpfs none /etc/netuned 2>/dev/null || {{
  mkdir {scratch}/up {scratch}/work
  mount -t overlay none -o lowerdir=/etc,upperdir={scratch}/up,workdir={scratch}/work /etc
}}
mkdir -p /etc/netuned/profiles.d
mount --bind {profiles} /etc/netuned/profiles.d
cd {scratch}
"""
"""What the pages call /etc is the lab's, for this session alone; their card is a virtual one."""


def commands(page: str) -> list[str]:
    text = (ROOT / f"docs/{page}.md").read_text()
    lines = "".join(BLOCK.findall(text)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("eth0", "peer0", queues=4)
        for template in (ROOT / "profiles").glob("*.yaml"):
            shutil.copy(template, made.profiles)
        made.start()
        yield made


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_does_its_work(lab: Lab, page: str, tmp_path: Path) -> None:
    said = commands(page)
    assert len(said) > 4
    if page == "troubleshooting":  # it is about a card with a profile
        lab.profile("mine", "extends: [base]\nmatch: {name: eth0, kind: veth}\n")
        lab.ctl("reload")
    script = SESSION.format(scratch=tmp_path, profiles=lab.profiles)
    for command in said:
        command = command.replace("match: {name: eth0}", "match: {name: eth0, kind: veth}")
        quoted = command.replace("'", "'\\''")
        script += f"echo '>>> {quoted}'\n{command} < /dev/null\n"
    tools = f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    words = lab.command("unshare", "-m", "--propagation", "private", "env", tools, "sh", "-c")
    environment = {"LC_ALL": "C.UTF-8", **lab.environment}
    done = subprocess.run(
        [*words, script], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr + lab.logged()[-3000:]
    assert done.stdout.count(">>> ") == len(said)
