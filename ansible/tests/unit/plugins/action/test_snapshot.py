# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.netuned.netuned.plugins.action.snapshot import write


def test_a_file_is_written_whole_and_once(tmp_path):
    path = tmp_path / "hosts" / "one.tar.xz"
    assert write(str(path), b"one")
    assert not write(str(path), b"one")
    assert write(str(path), b"two")
    assert [found.name for found in path.parent.iterdir()] == ["one.tar.xz"]
    assert path.read_bytes() == b"two"
