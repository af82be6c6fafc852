"""Profiles that come, change and go in every way a file can; and files that never answer."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.profiles.compiled import NAME as COMPILED
from netuned.profiles.reading import MOST, STABLE_S
from tests.netns.lab import Lab

pytestmark = pytest.mark.netns

ONE, TWO, OFF = "1", "2", "0"
"""Masks of lan0's first receive queue."""
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


def text(mask: str) -> str:
    cpu = {ONE: 0, TWO: 1}[mask]
    return f"match: [{{kind: veth, name: lan0}}]\nrps: {{cpus: {cpu}}}\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.add_pair("lan0", "peer0", queues=2)
        yield made


def seen(lab: Lab, mask: str, how: str) -> None:
    lab.wait(lambda: lab.attribute("lan0", "rx-0", "rps_cpus") == mask, how)


def switch(link: Path, target: str) -> None:
    """Make a link lead elsewhere, in one step."""
    new = link.with_name("new")
    new.symlink_to(target)
    new.rename(link)


def linkat(descriptor: int, path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    source = f"/proc/self/fd/{descriptor}".encode()
    if libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW):
        raise OSError(ctypes.get_errno(), "linkat")


def test_a_file_is_seen_however_it_comes_and_changes(lab: Lab) -> None:
    """By its event: the resync, 30 s away, is not waited for."""
    elsewhere = lab.directory / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    other, profile = elsewhere / "other", lab.profiles / "p.yaml"
    lab.start()
    other.write_text(text(TWO))
    os.link(other, profile)
    seen(lab, TWO, "a hard link")
    profile.unlink()
    seen(lab, OFF, "that it went")
    unnamed = os.open(lab.profiles, os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(unnamed, text(ONE).encode())
    linkat(unnamed, profile)
    seen(lab, ONE, "a file that gets its name when it is whole, and is not closed")
    os.close(unnamed)
    profile.unlink()
    seen(lab, OFF, "that it went")
    profile.symlink_to(other)
    seen(lab, TWO, "a link")
    other.write_text(text(ONE))
    seen(lab, ONE, "what it leads to, written anew")
    (elsewhere / "new").write_text(text(TWO))
    (elsewhere / "new").rename(other)
    seen(lab, TWO, "what it leads to, replaced")
    profile.unlink()
    profile.write_text(text(ONE))
    seen(lab, ONE, "a file in place of the link")
    with profile.open("r+") as writer:
        writer.write(text(TWO))
        writer.flush()
        seen(lab, TWO, "what was written and not closed")
    os.truncate(profile, 0)
    seen(lab, OFF, "that it was cut to nothing")


@pytest.mark.parametrize("above", [False, True])
def test_a_switched_link_is_seen(lab: Lab, *, above: bool) -> None:
    """As stow, nix and ostree do it: to the directory, and to one above it."""
    for name, mask in (("v1", ONE), ("v2", TWO)):
        there = lab.directory / name / ("profiles.d" if above else "")
        there.mkdir(parents=True)
        (there / "p.yaml").write_text(text(mask))
    link = lab.directory / "etc" if above else lab.profiles
    lab.profiles.rmdir()
    lab.profiles = link / "profiles.d" if above else link
    link.symlink_to("v1")
    lab.start()
    seen(lab, ONE, "the first")
    switch(link, "v2")
    seen(lab, TWO, "the second")
    link.unlink()
    seen(lab, OFF, "that it went")
    link.symlink_to("v1")
    seen(lab, ONE, "the first again")


def test_what_raises_no_event_is_seen_at_the_resync(lab: Lab) -> None:
    other = lab.directory / "other"
    profile = lab.profiles / "p.yaml"
    profile.write_text(text(ONE))
    os.link(profile, other)
    lab.start("--resync", "0.3")
    seen(lab, ONE, "the profile")
    other.write_text(text(TWO))  # an event of that name alone
    seen(lab, TWO, "what was written by its other name")
    there = lab.directory / "mounted"
    there.mkdir(mode=0o755)
    (there / "p.yaml").write_text(text(ONE))
    assert lab.daemon is not None  # it has mounts of its own, as what `ip netns exec` runs has
    within = ("nsenter", f"--target={lab.daemon.pid}", "--mount")
    subprocess.run([*within, "mount", "--bind", there, lab.profiles], check=True)
    seen(lab, ONE, "what was mounted over the directory")


def test_half_a_file_is_not_read_while_it_is_written(lab: Lab) -> None:
    lab.profile("p", text(ONE))
    lab.start()
    seen(lab, ONE, "the profile")
    with (lab.profiles / "p.yaml").open("w") as writer:
        lab.profile("other", "description: read at once\n")
        lab.wait(lambda: len(lab.status()["manager"]["profiles"]) == 2, "the other profile")
        writer.write(text(TWO))
    seen(lab, TWO, "the whole file")
    assert "put back" not in lab.logged()


def test_a_mended_directory_is_seen(lab: Lab) -> None:
    """The one above the profiles, and those on the way to where a link leads."""
    etc, there = lab.directory / "etc", lab.directory / "there" / "deep"
    for directory in (etc, there.parent, there, lab.profiles):
        directory.mkdir(mode=0o755, exist_ok=True)
    lab.profiles = lab.profiles.rename(etc / "profiles.d")
    (lab.profiles / "p.yaml").symlink_to(there / "p.yaml")
    (there / "p.yaml").write_text(text(ONE))
    etc.chmod(0o775)
    lab.start()
    assert len(errors(lab)) == 1
    etc.chmod(0o755)
    seen(lab, ONE, "what is used as soon as it may be")
    for directory in (etc, there.parent, there):
        directory.chmod(0o775)
        lab.wait(lambda: errors(lab), f"the error in {directory}")
        directory.chmod(0o755)
        lab.wait(lambda: not errors(lab), f"that {directory} was mended")
    assert lab.attribute("lan0", "rx-0", "rps_cpus") == ONE


@pytest.mark.parametrize("start", ["", "match: [{kind: veth, name: lan0}]\n"])
def test_a_pause_in_writing_takes_no_card_out_of_force(lab: Lab, start: str) -> None:
    """Longer than a file that nobody has open has to stay the same; another one is dropped."""
    path = lab.profile("p", text(ONE))
    lab.start()
    seen(lab, ONE, "the profile")
    with path.open("w") as writer:
        writer.write(start)
        writer.flush()
        time.sleep(STABLE_S + 0.2)
        lab.profile("other", "description: read at once\n")
        lab.wait(lambda: len(lab.status()["manager"]["profiles"]) == 2, "the other profile")
        assert lab.attribute("lan0", "rx-0", "rps_cpus") == ONE
        writer.seek(0)
        writer.write(text(TWO))
    seen(lab, TWO, "the whole file")
    assert "-> none" not in lab.logged()


@pytest.fixture
def silent(lab: Lab) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A file system that answers when it gets a signal, and who is asked."""
    mountpoint = lab.directory / "silent"
    mountpoint.mkdir(mode=0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.netns.silent", str(mountpoint)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        server.stdin.write(text(TWO) + "priority: 99\n")
        server.stdin.close()
        assert server.stdout.readline() == "mounted\n"
        yield mountpoint, server
    finally:
        server.kill()
        server.wait()
        subprocess.run(["umount", "-l", mountpoint], check=False)


def errors(lab: Lab) -> list[str]:
    found: list[str] = lab.status()["manager"]["profile_errors"]
    return found


def threads(lab: Lab) -> int:
    assert lab.daemon is not None
    return len(os.listdir(f"/proc/{lab.daemon.pid}/task"))


@pytest.mark.parametrize("step", ["lookup", "open", "read"])
def test_files_that_do_not_answer_hold_up_no_other(
    lab: Lab, silent: tuple[Path, subprocess.Popen[str]], step: str
) -> None:
    mountpoint, server = silent
    for number in range(3 * MOST):
        (lab.profiles / f"h{number:02}.yaml").symlink_to(mountpoint / f"{step}{number}")
    lab.profile("p", text(ONE))
    lab.start()
    seen(lab, ONE, "the profile beside them")
    assert len(errors(lab)) == 3 * MOST
    where = f"{lab.profiles}/h00.yaml: leads to {mountpoint}/{step}0, which does not answer"
    assert errors(lab)[0] == f"{where}; it is read as soon as it does"
    before = threads(lab)
    lab.shell("echo 3 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
    seen(lab, ONE, "a repair")
    lab.profile("p", text(ONE).replace("cpus: 0", "cpus: 0-1"))
    seen(lab, "3", "a change of the profile beside them")
    assert lab.ctl("reload", check=False).returncode == 1
    assert threads(lab) <= before + 2
    for link in lab.profiles.glob("h*"):
        if not link.name.startswith("h00"):
            link.unlink()
    lab.wait(lambda: len(errors(lab)) == 1, "that links went")
    server.send_signal(signal.SIGUSR1)
    seen(lab, TWO, "the answer")
    assert errors(lab) == []


NOBODY = 65534
HOG = f"""\
import ctypes, os, sys
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
while ctypes.CDLL(None).inotify_init1(0) >= 0: pass
print("none left", flush=True)
sys.stdin.read()
"""


class Unprivileged(Lab):
    """The daemon as a user whose instances of inotify can be used up without harm to others."""

    def command(self, *words: str) -> list[str]:
        rights = "+net_admin,+dac_override,+dac_read_search"
        become = (
            "setpriv",
            f"--reuid={NOBODY}",
            f"--inh-caps={rights}",
            f"--ambient-caps={rights}",
        )
        return super().command(*(become if "--state-directory" in words else ()), *words)


def test_where_inotify_is_used_up_the_resync_sees_and_events_come_back() -> None:
    with Unprivileged() as lab:
        lab.add_pair("lan0", "peer0", queues=2)
        lab.profile("p", text(ONE))
        with subprocess.Popen(
            [sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as hog:
            assert hog.stdout is not None
            assert hog.stdout.readline() == "none left\n"
            lab.start("--resync", "0.3")
            seen(lab, ONE, "the profile")
            (problem,) = lab.status()["manager"]["problems"]
            assert problem.startswith("no instance of inotify is left (Too many open files): ")
            lab.profile("p", text(TWO))
            seen(lab, TWO, "another profile, at the resync")
            lab.shell("echo 3 > /sys/class/net/lan0/queues/rx-0/rps_cpus")
            seen(lab, TWO, "what somebody wrote, at the resync")
            hog.kill()
        lab.wait(lambda: not lab.status()["manager"]["problems"], "instances")


def test_what_compiles_profiles_is_imported_where_one_is_to_be_compiled(lab: Lab) -> None:
    """Not by the next start, nor by a reload: what was compiled is kept."""

    def compilers() -> set[str]:
        assert lab.daemon
        maps = Path(f"/proc/{lab.daemon.pid}/maps").read_text()
        return {name for name in ("pydantic_core", "_yaml") if name in maps}

    lab.profile("p", text(ONE))
    lab.start()
    assert compilers()
    lab.wait((lab.directory / "state" / COMPILED).exists, "what was compiled, kept")
    lab.stop()
    lab.log.write_text("")
    lab.start()
    lab.wait_state("lan0", "in-sync")
    lab.ctl("reload")
    assert not compilers()
    assert "Set " not in lab.logged()
    lab.profile("p", text(TWO))
    seen(lab, TWO, "dropped")
    assert compilers()
