# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os

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
