"""What the lab needs of the machine it runs on: rights, packages, a Debian mirror."""

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import cache

ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

QEMU = "qemu-system-x86_64"
QEMU_PACKAGE = "qemu-system-x86"
QEMU_MINIMUM = (10, 0)
"""igb came with 8.0, virtio-net's multi-queue RSS without vhost before that; from 10.0 on it can be
said which CPUs share a cache."""

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "git": "git",
    "iasl": "acpica-tools",
}
"""Command → the Debian package that brings it."""

_CARRIED_OVER = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")
"""Settings of the machine's apt that reach through to the guest's bootstrap: proxy, CA, clock."""


class LabUnavailable(Exception):
    """This machine cannot run the lab, and why."""


class LabError(Exception):
    """The lab could have worked here and did not."""


def environment() -> dict[str, str]:
    """The environment of the tools: administration commands in the path, no translated output."""
    path = os.environ.get("PATH", "")
    return os.environ | {"PATH": f"{path}:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def run(*argv: str | Path, log: Path | None = None) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        LabError: it failed; the message carries the end of its output.
    """
    done = subprocess.run(
        [str(arg) for arg in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if log else subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment(),
        check=False,
    )
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        tail = (done.stderr or done.stdout)[-4000:]
        where = f", all of it in {log}" if log else ""
        raise LabError(f"{argv[0]} exited with {done.returncode}{where}:\n{tail}")
    return done.stdout


def has(command: str) -> bool:
    """Is the command there?"""
    return shutil.which(command, path=environment()["PATH"]) is not None


def check_rights() -> None:
    """Raises LabUnavailable where not even the packages could help."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise LabUnavailable("the lab needs Linux on x86_64")
    if os.geteuid() != 0:
        raise LabUnavailable("the lab needs root (chroot, a tap device, a network namespace)")
    if not Path("/dev/net/tun").exists():
        raise LabUnavailable("the lab needs /dev/net/tun")


def ensure_packages() -> None:
    """Install what the lab's tools need and this machine lacks.

    Raises:
        LabUnavailable: not root, or apt cannot bring them.
    """
    check_rights()
    with (cache.folder() / "packages").open("w") as lock:  # another guest's start wants them, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_what_is_missing()


def _install_what_is_missing() -> None:
    missing = {package for command, package in TOOLS.items() if not has(command)}
    if importlib.util.find_spec("pip") is None and not has("pip3"):
        missing.add("python3-pip")
    old_qemu = not has(QEMU) or _version(run(QEMU, "--version")) < QEMU_MINIMUM
    if not missing and not old_qemu:
        return
    if not has("apt-get"):
        raise LabUnavailable(f"no apt-get here; install {QEMU} >= 10.0 and {', '.join(TOOLS)}")
    try:
        _apt("update")
        if old_qemu and _version(run("apt-cache", "policy", QEMU_PACKAGE)) >= QEMU_MINIMUM:
            missing.add(QEMU_PACKAGE)
            old_qemu = False
        if missing:
            _apt("install", *sorted(missing))
        if old_qemu:
            _install_qemu_from_backports()
    except LabError as error:
        raise LabUnavailable(f"apt could not install what the lab needs: {error}") from error


def pip() -> list[str]:
    """The command line that starts pip on this machine."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    return ["pip3"]


def debian_mirror() -> str:
    """The address of the Debian archive that this machine's own apt uses.

    `NETUNED_LAB_MIRROR` overrides it, for a machine that is not a Debian.
    """
    if chosen := os.environ.get("NETUNED_LAB_MIRROR"):
        return chosen
    system = platform.freedesktop_os_release()
    codename = system.get("VERSION_CODENAME", "") if system["ID"] == "debian" else ""
    fields = "$(REPO_URI) $(RELEASE) $(CODENAME)"
    for line in run("apt-get", "indextargets", "--format", fields).splitlines():
        # the suite as the sources have it ("stable", perhaps), the codename as the archive says
        uri, *names = line.split()
        if codename in names:
            return uri
    raise LabUnavailable("no Debian archive among apt's sources; set NETUNED_LAB_MIRROR")


def apt_settings() -> list[str]:
    """The lines of the machine's apt configuration without which its mirror is not reached."""
    dump = run("apt-config", "dump", "Acquire")
    return [line for line in dump.splitlines() if line.startswith(_CARRIED_OVER)]


def _version(text: str) -> tuple[int, int]:
    """The first version in a tool's or apt-cache's words; (0, 0) if there is none.

    >>> _version("Candidate: 1:10.0.2+ds-2")
    (10, 0)
    """
    match = re.search(r"(?:Candidate: (?:\d+:)?|version )(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _apt(action: str, *arguments: str) -> None:
    answers = ("--yes", "--no-install-recommends")
    run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *answers, action, *arguments)


def _install_qemu_from_backports() -> None:
    """The suite beside the machine's own lists, for this command only."""
    suite = f"{platform.freedesktop_os_release()['VERSION_CODENAME']}-backports"
    signed = f"[signed-by={ARCHIVE_KEYRING}] " if ARCHIVE_KEYRING.exists() else ""
    with tempfile.TemporaryDirectory(prefix="netuned-lab-apt-") as folder:
        # apt reads its lists as an unprivileged user
        os.chmod(folder, 0o755)
        parts = Path(folder, "sources")
        own = Path("/etc/apt/sources.list.d")
        shutil.copytree(own, parts) if own.is_dir() else parts.mkdir()
        lists = Path(folder, "lists")
        lists.mkdir()
        (parts / "netuned-lab.list").write_text(f"deb {signed}{debian_mirror()} {suite} main\n")
        options = (
            f"--option=Dir::Etc::SourceParts={parts}",
            f"--option=Dir::State::Lists={lists}",
            "--option=Dir::Cache::pkgcache=",
            "--option=Dir::Cache::srcpkgcache=",
        )
        _apt("update", *options)
        _apt("install", *options, f"--target-release={suite}", QEMU_PACKAGE)
