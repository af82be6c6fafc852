"""The Debian packages on Debians: installed, upgraded while they keep cards, removed, purged."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import netuned
from tests import packages

from .guest_host import FIRST, IGB, PROFILES, SECOND, Guest
from .test_uninstall import HAD, UNITS, found

OLD = "0.0.1"
UNITS_HAD = ("exporter.service", "metrics.service", "metrics.timer")
ALSO_HAD = " ".join(
    ("usr/bin/netuned-exporter", *(f"usr/lib/systemd/system/netuned-{one}" for one in UNITS_HAD))
)
CONFFILE = "/etc/apparmor.d/netuned"
LOG = "/run/lab/settings"
WATCH = f"""
mkdir -p {Path(LOG).parent}; rm -f {LOG}; (
while [ ! -e {LOG}.end ]; do
  {{ ethtool -l {FIRST}; ethtool -x {FIRST}; tc qdisc show dev {FIRST};
    cat /sys/class/net/{FIRST}/queues/*/?ps_cpus; }} 2>&1 | cksum >>{LOG}
done; rm {LOG}.end ) >/dev/null 2>&1 &
"""
"""A shell in the background that looks at a card's settings again and again."""
SECONDS = 300


@pytest.fixture
def debian(guest: Guest, tmp_path: Path) -> Iterator[Guest]:
    """A guest without netuned, with both packages in two versions; afterwards as it was."""
    with without_netuned(guest):
        _bring(guest, tmp_path)
        yield guest


@contextmanager
def without_netuned(guest: Guest) -> Iterator[None]:
    """Have what `make install` installed gone, then no package there, and that again."""
    for name in ("uninstall", "put-back"):
        guest.machine.put(f"/root/{name}", (UNITS / name).read_bytes(), mode=0o755)
    guest.sh(f"tar -C / --exclude=usr/lib/netuned -cf /root/netuned.tar {HAD} {ALSO_HAD}", 120)
    guest.sh("cp -al /usr/lib/netuned /root/netuned && /root/uninstall ''", 120)
    try:
        yield
    finally:
        guest.remove_profiles()
        guest.sh("dpkg --purge --force-all netuned netuned-exporter", SECONDS)
        guest.sh("rm -rf /usr/lib/netuned && mv /root/netuned /usr/lib", 120)
        guest.sh("tar -C / -xf /root/netuned.tar && systemctl daemon-reload", 120)
        guest.sh("apparmor_parser -r /etc/apparmor.d/netuned", 120)
        guest.sh("systemctl reload dbus; systemctl enable netuned; systemctl restart netuned", 120)
        guest.sh("rm /root/netuned* /root/uninstall /root/put-back")


def _bring(guest: Guest, tmp_path: Path) -> None:
    dist = packages.built()
    for name in ("netuned", "netuned-exporter"):
        (deb,) = dist.glob(f"{name}_*.deb")
        guest.machine.put(f"/root/{name}.deb", deb.read_bytes())
        old = older(deb, tmp_path / name)
        guest.machine.put(f"/root/{name}-old.deb", old.read_bytes())


def older(deb: Path, work: Path) -> Path:
    """The same package as one of an earlier version."""
    subprocess.run(["dpkg-deb", "--raw-extract", deb, work], check=True)
    control = work / "DEBIAN/control"
    control.write_text(control.read_text().replace(netuned.__version__, OLD))
    packed = work.with_suffix(".deb")
    subprocess.run(["dpkg-deb", "-Zgzip", "-z6", "--build", work, packed], check=True)
    return packed


def install(guest: Guest, which: str = "") -> None:
    guest.sh(f"dpkg --install /root/netuned{which}.deb /root/netuned-exporter{which}.deb", SECONDS)
    guest.wait_restart()


def program(guest: Guest) -> str:
    return guest.sh("systemctl show -P MainPID netuned")


@pytest.mark.each_release
def test_a_package_comes_is_upgraded_and_goes(debian: Guest) -> None:
    guest = debian
    before = found(guest)
    install(guest, "-old")
    assert guest.sh("systemctl is-enabled netuned") == "enabled"
    assert guest.sh("systemctl is-active netuned-exporter || true") == "inactive"
    assert "netuned" in guest.sh("cat /sys/kernel/security/apparmor/profiles")
    guest.drop("igb", IGB.replace("combined: max", "combined: 4"))
    for ifname in (FIRST, SECOND):
        guest.wait_state(ifname, "in-sync")
    tuned = found(guest)
    assert tuned != before
    guest.sh(f"echo '# of this host' >>{CONFFILE}; systemctl start netuned-exporter")
    guest.wait("a scrape", "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9986'")

    guest.machine.run(WATCH)
    old = program(guest)
    install(guest)
    for ifname in (FIRST, SECOND):
        guest.wait_state(ifname, "in-sync")
    guest.sh(f"touch {LOG}.end; while [ -e {LOG}.end ]; do sleep 0.1; done")
    assert program(guest) != old
    assert guest.writes() == 0
    assert len(guest.sh(f"uniq {LOG}").splitlines()) == 1, "nothing changed meanwhile"
    assert int(guest.sh(f"wc -l <{LOG}")) > 3
    assert found(guest) == tuned
    assert guest.sh(f"tail -n 1 {CONFFILE}") == "# of this host"
    assert guest.sh("systemctl is-active netuned-exporter") == "active"

    guest.sh("dpkg --remove netuned-exporter netuned", SECONDS)
    assert found(guest) == before
    assert guest.sh("systemctl is-active netuned || true") == "inactive"
    guest.wait("irqbalance's own", "! grep -q policyscript /proc/$(pidof irqbalance)/cmdline")
    guest.sh(f"test -e {CONFFILE} && test -e /var/lib/netuned && ! test -e /usr/lib/netuned")
    guest.sh("dpkg --purge netuned-exporter netuned", SECONDS)
    left = f"/usr/lib/netuned /var/lib/netuned /run/netuned {CONFFILE} /usr/bin/netunedctl"
    assert guest.sh(f"ls -d {left} 2>/dev/null || true") == ""
    assert guest.sh(f"ls {PROFILES}") == "igb.yaml", "what somebody wrote stays"
    assert guest.sh("dpkg-query -W 'netuned*' 2>/dev/null || true") == ""


def test_settings_are_kept_when_debconf_says_so(debian: Guest) -> None:
    guest = debian
    before = found(guest)
    install(guest)
    guest.drop("igb", IGB.replace("combined: max", "combined: 4"))
    for ifname in (FIRST, SECOND):
        guest.wait_state(ifname, "in-sync")
    tuned = found(guest)
    guest.sh("echo netuned netuned/keep boolean true | debconf-set-selections")
    guest.sh("dpkg --remove netuned-exporter netuned", SECONDS)
    assert found(guest) == tuned
    guest.wait("irqbalance's own", "! grep -q policyscript /proc/$(pidof irqbalance)/cmdline")
    # and what was there before is known to whoever comes next
    install(guest)
    guest.sh("KEEP=0 dpkg --remove netuned-exporter netuned", SECONDS)
    assert found(guest) == before
