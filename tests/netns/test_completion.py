"""What completes netunedctl's words, in real shells on a terminal beside real cards and a bus."""

from __future__ import annotations

import os
import pty
import select
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from pages import completion
from tests.netns.bus_fixtures import CALM, PrivateBus, private_bus, served
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns
Skip = Callable[[str], NoReturn]

WAIT_S = 30.0
NASTY = "$(>pwned)"
"""A name that the kernel takes, and a shell that expands it makes a file of."""

SHELLS = {
    "bash": (("bash", "--norc", "-i"), "source {script}", 'netunedctl() {{ echo "GOT:$*:"; }}'),
    "zsh": (
        ("zsh", "-f", "-i"),
        "fpath=({folder} $fpath); autoload -U compinit; compinit -u -D",
        'netunedctl() {{ echo "GOT:$*:" }}',
    ),
    "fish": (
        ("fish", "--no-config", "-i"),
        "source {script}",
        'function netunedctl; echo "GOT:$argv:"; end',
    ),
}
"""How each is started, reads the script, and is told to say what was completed."""


class Terminal:
    """A shell as somebody sits before it."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> None:
        """Read until this is printed, from what was read last on."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 4096).decode("utf-8", "replace")
                if "\x1b[c" in self.seen or "\x1b[0c" in self.seen:  # fish asks what terminal it is
                    self.seen = self.seen.replace("\x1b[c", "").replace("\x1b[0c", "")
                    self.type("\x1b[?1;2c")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    folder.chmod(0o755)
    for place, text in completion.scripts().items():
        (folder / Path(place).name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=1)
        made.add_pair(NASTY, "peer1", queues=1)
        yield made


@pytest.fixture(scope="module")
def bus() -> Iterator[PrivateBus]:
    with private_bus() as made:
        yield made


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_knows_what_there_is(
    shell: str, lab: Lab, bus: PrivateBus, scripts: Path, tmp_path: Path, skip: Skip
) -> None:
    if shutil.which(shell) is None:
        skip(f"needs {shell}: apt install {shell}")
    words, read, answer = SHELLS[shell]
    (script,) = (name for name in completion.PLACES.values() if shell in name)
    places = {"script": scripts / Path(script).name, "folder": scripts}
    environment = {**bus.environment, "HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ "}
    environment.pop("ZDOTDIR", None)
    waits = replace(CALM.manager, pending_confirm=f"3f91c0: {NASTY}; $(>pwned): x, until 12:00")
    with served(bus, replace(CALM, manager=waits)):
        terminal = Terminal(lab.command(*words), environment, tmp_path)
        try:
            terminal.type(read.format(**places) + "; echo rea''dy\n")
            terminal.until("ready")
            terminal.type(answer.format() + "; echo to''ld\n")
            terminal.until("told")
            for typed, got in (
                ("hist\t\n", "history"),
                ("status --exi\t\n", "status --exit-code"),
                ("explain la\t\n", "explain lan0"),
                ("explain lan0 \t\n", "explain lan0 0"),
                ("watch peer0 la\t\n", "watch peer0 lan0"),
                ("confirm \t\n", "confirm 3f91c0"),
                ("restore lan0 rp\t\n", "restore lan0 rps"),
                ("plan la\t\n", "plan lan0"),
                ("fleet dr\t\n", "fleet drift"),
                ("status \t\t\x15netunedctl x\n", "x"),
            ):
                terminal.type(f"netunedctl {typed}")
                terminal.until(f"GOT:{got}")
        finally:
            terminal.close()
    assert not (tmp_path / "pwned").exists()


def test_profiles_are_found_in_all_directories(lab: Lab, scripts: Path) -> None:
    script = scripts / "netunedctl"
    lines = (
        "mount -t tmpfs tmpfs /run",
        "mkdir -p /run/netuned/profiles.d",
        f"cd /run/netuned/profiles.d; touch edge.yaml web.yml notes.txt '{NASTY}.yaml'",
        f"bash -c 'source {script}; _netunedctl_profiles e; _netunedctl_profiles w'",
    )
    assert {"edge", "web"} <= set(lab.shell("\n".join(lines)).split())
