# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

import pytest
from ansible_collections.netuned.netuned.plugins.module_utils import netunedctl
from ansible_collections.netuned.netuned.plugins.modules import profile


def test_a_file_of_comments_masks():
    assert profile.is_empty(b"")
    assert profile.is_empty(b"# nothing\n\n  # here\n")
    assert not profile.is_empty(b"# something\nrps: {cpus: 0}\n")


def test_what_is_there(tmp_path):
    path = tmp_path / "edge.yaml"
    assert profile.read(str(path)) == (None, True)
    path.write_bytes(b"rps: {cpus: 0}\n")
    os.chmod(str(path), 0o664)
    assert profile.read(str(path)) == (b"rps: {cpus: 0}\n", False)
    path.unlink()
    path.symlink_to("/dev/null")
    assert profile.read(str(path)) == (b"", True)
    path.unlink()
    path.symlink_to("nothing.yaml")
    assert profile.read(str(path)) == (None, False)
    path.unlink()
    path.symlink_to("edge.yaml")
    with pytest.raises(OSError):
        profile.read(str(path))


class Rename:
    """What the draft was like when it was put into place, and an error if that is to fail."""

    def __init__(self, error=None):
        self.error, self.rename = error, os.rename

    def __call__(self, draft, path):
        found = os.stat(draft)
        self.name, self.at = os.path.split(draft)[1], os.path.split(draft)[0]
        self.mode, self.owner = found.st_mode & 0o7777, (found.st_uid, found.st_gid)
        if self.error:
            raise self.error
        self.rename(draft, path)


def test_a_profile_never_has_the_rights_of_the_one_before_it(tmp_path, monkeypatch):
    path = tmp_path / "edge.yaml"
    path.write_bytes(b"old")
    path.chmod(0o666)
    os.chown(str(path), 1234, 1234)
    renamed = Rename()
    monkeypatch.setattr(os, "rename", renamed)
    profile.write(str(path), b"new")
    assert (renamed.mode, renamed.owner, renamed.at) == (0o644, (0, 0), str(tmp_path))
    assert renamed.name.startswith(".") and not renamed.name.endswith((".yaml", ".yml"))
    assert path.read_bytes() == b"new"
    profile.write(str(path), None)
    assert os.listdir(str(tmp_path)) == []


def test_what_cannot_be_put_into_place_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "edge.yaml"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "rename", Rename(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        profile.write(str(path), b"new")
    assert os.listdir(str(tmp_path)) == ["edge.yaml"]
    assert path.read_bytes() == b"old"


def test_the_kernels_settings_are_a_difference():
    rows = [
        {"ifname": "eth0", "setting": "rps rx 0-7", "before": "none", "after": "0-3", "disruptive": False},
        {"ifname": "", "setting": "sysctl net.core.rmem_max", "before": "", "after": "1", "disruptive": False},
        {"ifname": "eth0", "setting": "channels", "before": "4 combined", "after": "8 combined", "disruptive": True},
    ]
    shown = netunedctl.kernel_diff({"rows": rows})
    assert shown["before"].splitlines()[:2] == ["eth0 rps rx 0-7: none", "host sysctl net.core.rmem_max: -"]
    assert shown["after"].splitlines()[2] == "eth0 channels: 8 combined  (drops the link)"


def test_netuneds_own_words():
    text = "/etc/a.yaml:2:7: rps.cpu: unknown key\nnetunedctl: nothing is planned\n"
    assert netunedctl.message(text) == "/etc/a.yaml:2:7: rps.cpu: unknown key\nnothing is planned"
