"""The guest's disk: a Debian root file system, kept per recipe, with a checkout's netuned on it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from . import cache, host
from .timing import timed

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

KERNEL = "linux-image-amd64"


@dataclass(frozen=True, slots=True)
class System:
    """A Debian to boot: the suite of its userland with its Python, and the suite of its kernel.

    Of the latter comes the kernel alone, with what it needs besides.
    """

    name: str
    suite: str
    python: str
    kernel_suite: str


OLDEST = System("debian-12", "bookworm", "3.11", "bookworm")
"""Linux 6.1: no netdev-genl, RSS by the ioctl alone."""
CURRENT = System("debian-13", "trixie", "3.13", "trixie")
"""Linux 6.12."""
NEWEST = System("debian-13-backports", "trixie", "3.13", "trixie-backports")
"""The newest kernel that is packaged for a release: RSS set and told by netlink."""
SYSTEMS = (CURRENT, OLDEST, NEWEST)
"""In the order in which they are booted."""

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "polkitd", "udev", "irqbalance", "login", "passwd"),
    *("initramfs-tools", "zstd", "ethtool", "iproute2", "iputils-ping", "kmod", "procps", "strace"),
    *(
        "util-linux",
        "apparmor",
        "make",
        "openssh-server",
        "python3",
        "python3-venv",
        "python3-pip",
        "python3-systemd",
    ),
    # what netuned's own package depends on
    *("python3-jeepney", "python3-prometheus-client", "python3-psutil", "python3-rich"),
    "python3-yaml",
    # what Ansible installs packages by
    "python3-apt",
)

WITHOUT = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/*",
    "/usr/lib/modules/*/kernel/drivers/media/*",
    "/usr/lib/modules/*/kernel/drivers/net/wireless/*",
    "/usr/lib/modules/*/kernel/sound/*",
)
"""Files of those packages that the lab never opens: they would only make every image slower."""

VENV = "/usr/lib/netuned/venv"
WHEELS = "/var/cache/netuned-lab/wheels"
LOCK = "requirements.lock"
"""What `make install` installs: of the checkout, and beside the wheels."""
DISK_SIZE = "4G"
RECIPE = 2
"""Part of the base's key: raise it when what `_bootstrap` does changes."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What a machine starts from."""

    system: System
    image: Path
    kernel: Path
    initrd: Path


def disk(checkout: Path = CHECKOUT, system: System = CURRENT) -> Disk:
    """The disk with this checkout's netuned on it; from the cache if nothing has changed.

    Raises:
        LabError: a step of the build failed.
    """
    with timed(f"base file system of {system.name}"):
        base = _base(requirements(checkout), system)
    with timed("disk image"):
        image = _image(base, checkout)
    boot = base / "root/boot"
    return Disk(system, image / "disk.img", _only(boot, "vmlinuz-*"), _only(boot, "initrd.img-*"))


def requirements(checkout: Path) -> str:
    """The lock of what netuned needs to run and to be built; empty where a checkout has none."""
    try:
        return (checkout / LOCK).read_text()
    except FileNotFoundError:
        return ""


def source_files(checkout: Path) -> list[Path]:
    """The checkout's files that are tracked or could be, for a host to have; relative to it."""
    listed = host.run(
        *("git", "-c", f"safe.directory={checkout}", "-C", checkout, "ls-files", "-z"),
        *("--cached", "--others", "--exclude-standard"),
    )
    files = [Path(name) for name in sorted(set(listed.split("\0"))) if name]
    there = (file for file in files if (checkout / file).is_file())
    return [file for file in there if file.parts[0] not in ("ansible", "tests")]


def _base(wanted: str, system: System) -> Path:
    recipe = [RECIPE, *astuple(system), KERNEL, *PACKAGES, *WITHOUT, wanted]
    overlay = cache.contents(HERE / "base", cache.walk(HERE / "base"))

    def build(work: Path) -> None:
        (work / "wheels").mkdir()
        if wanted:
            _download_wheels(wanted, system.python, work)
        _bootstrap(system, wanted, work)

    return cache.entry(f"base-{cache.digest(json.dumps(recipe).encode(), *overlay)}", build)


def _download_wheels(wanted: str, python: str, work: Path) -> None:
    (work / "wheels" / LOCK).write_text(wanted)
    platforms = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    host.run(
        *host.pip(),
        *("download", "--quiet", "--only-binary=:all:", "--require-hashes"),
        *("--python-version", python, "--implementation", "cp"),
        *(f"--platform={name}_x86_64" for name in platforms),
        f"--dest={work / 'wheels'}",
        f"--requirement={work / 'wheels' / LOCK}",
        log=work / "wheels.log",
    )


def _bootstrap(system: System, wanted: str, work: Path) -> None:
    """`mmdebstrap`, with the initrd's settings laid down before the kernel's package comes."""
    mirror = host.debian_mirror()
    suites = dict.fromkeys((system.suite, system.kernel_suite))
    pins = work / "pins"
    pins.write_text(
        f"Package: *\nPin: release n={system.kernel_suite}\nPin-Priority: 100\n\n"
        f"Package: linux-*\nPin: release n={system.kernel_suite}\nPin-Priority: 900\n"
        if system.kernel_suite != system.suite
        else ""
    )
    host.run(
        # a mount namespace: what a failed run leaves mounted does not stay
        *("unshare", "--mount", "--propagation", "private", "--"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--architectures=amd64"),
        f"--include={','.join((KERNEL, *PACKAGES))}",
        *(f"--aptopt={line}" for line in host.apt_settings()),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in WITHOUT),
        f"--setup-hook=upload {pins} /etc/apt/preferences.d/netuned-lab",
        f"--essential-hook=sync-in {HERE / 'base'} /",
        *(f"--customize-hook={hook}" for hook in _customize_hooks(wanted, work / "wheels")),
        *(system.suite, work / "root"),
        *(f"deb {mirror} {suite} main" for suite in suites),
        log=work / "mmdebstrap.log",
    )


def _customize_hooks(wanted: str, wheels: Path) -> Iterator[str]:
    """What mmdebstrap's shell does last; `$1` is the root file system."""
    yield 'chroot "$1" systemd-machine-id-setup'
    yield 'echo netuned-lab >"$1/etc/hostname"'
    yield 'chroot "$1" systemctl disable ssh.service'  # for whom needs it to start: a boot is slow
    yield f'mkdir -p "$1{WHEELS}"'
    yield f"sync-in {wheels} {WHEELS}"
    yield f'chroot "$1" python3 -m venv --system-site-packages {VENV}'
    if wanted:
        pip = f"{VENV}/bin/pip install --isolated --quiet --no-index --find-links {WHEELS}"
        yield f'chroot "$1" {pip} --force-reinstall --require-hashes -r {WHEELS}/{LOCK}'


def _image(base: Path, checkout: Path) -> Path:
    ours, theirs = cache.walk(HERE / "guest"), source_files(checkout)
    key = cache.digest(
        *(base.name.encode(), (HERE / "assemble.sh").read_bytes(), DISK_SIZE.encode()),
        *cache.contents(HERE / "guest", ours),
        *cache.contents(checkout, theirs),
    )

    def build(work: Path) -> None:
        cache.copy(HERE / "guest", ours, work / "guest")
        cache.copy(checkout, theirs, work / "src")
        host.run(
            *("unshare", "--mount", "--propagation", "private", "--net", "--"),
            *(HERE / "assemble.sh", base / "root", work, work / "disk.img", DISK_SIZE),
            log=work / "assemble.log",
        )
        for leftover in ("guest", "overlay", "root", "upper"):
            shutil.rmtree(work / leftover)

    return cache.entry(f"disk-{key}", build)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise host.LabError(f"{folder}: wanted one {pattern}, found {len(found)}")
    return found[0]
