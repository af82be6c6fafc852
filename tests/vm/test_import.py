"""``netunedctl import`` of files as other projects ship them, from the distribution's packages."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from netuned.importing.profiles import bring, reader_of
from netuned.profiles.loader import load
from netuned.profiles.yamlwriting import dump

from . import host

PACKAGES = "tuned udev procps ufw libreswan"
"""Of ``perftune.yaml`` no package in Debian is known."""

EXAMPLE = re.compile(r"^\.nf\n(.*?)^\.fi", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the packages."""
    folder = tmp_path_factory.mktemp("packages")
    host.run("sh", "-ec", f"cd {folder}; apt-get -q download {PACKAGES}")
    for package in folder.glob("*.deb"):
        host.run("dpkg-deb", "-x", package, folder)
    return folder


def good(name: str, text: str) -> Iterator[dict[str, object]]:
    """The profiles of a file, of which each is good; every line is brought or has its reason."""
    found = bring(reader_of(name, text)(text))
    assert all(bool(one.why) != bool(one.path) or one.why for one in found.lines)
    for profile in found.profiles.values():
        assert not load((), dropped={"a.yaml": dump(profile).encode()}).errors
        yield profile


def test_profiles_of_tuned(shipped: Path) -> None:
    files = sorted(shipped.glob("usr/lib/tuned/**/tuned.conf"))
    assert len(files) > 20
    brought = {file.parent.name: list(good(file.name, file.read_text())) for file in files}
    (profile,) = brought["network-throughput"]
    host_settings = profile["host"]
    assert isinstance(host_settings, dict)
    assert set(host_settings["sysctl"]) == {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def test_files_of_sysctls(shipped: Path) -> None:
    """Of ``sysctl.d``, and of those that have one of their own, with slashes."""
    places = ("usr/lib/sysctl.d/*.conf", "etc/**/sysctl.conf", "usr/share/doc/**/sysctl.conf")
    files = [file for place in places for file in sorted(shipped.glob(place))]
    brought = {file: list(good(file.name, file.read_text())) for file in files}
    (profile,) = brought[shipped / "etc/ufw/sysctl.conf"]
    host_settings = profile["host"]
    assert isinstance(host_settings, dict)
    assert len(host_settings["sysctl"]) > 5
    assert host_settings["sysctl"]["net.ipv4.icmp_echo_ignore_all"] == 0
    (profile,) = brought[shipped / "usr/share/doc/libreswan/examples/sysctl.conf"]
    assert profile


def test_link_files_of_systemd(shipped: Path) -> None:
    manual = gzip.decompress((shipped / "usr/share/man/man5/systemd.link.5.gz").read_bytes())
    text = manual.decode()
    examples = text[text.index("EXAMPLES") :]
    for lines in EXAMPLE.findall(examples):
        list(good("a.link", lines.replace("\\-", "-").replace("\\&", "")))
    for file in shipped.glob("usr/lib/systemd/network/*.link"):
        list(good(file.name, file.read_text()))
