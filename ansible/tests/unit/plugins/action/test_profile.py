# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest
import yaml
from ansible_collections.netuned.netuned.plugins.action.profile import UnusableError, booleans, text_of


def test_a_mapping_is_the_text_of_a_profile():
    profile = {"match": {"name": "eth0"}, "rps": {"cpus": "0-3"}, "offloads": {"lro": "off"}}
    text = text_of(profile)
    assert text.startswith("# Written by Ansible")
    assert list(yaml.safe_load(text)) == ["match", "rps", "offloads"]
    assert yaml.safe_load(text) == profile


@pytest.mark.parametrize("profile, where", [
    ({"offloads": {"lro": False}}, "offloads.lro is false"),
    ({"match": [{"name": "eth0"}, {"name": True}]}, "match[1].name is true"),
    ({True: {}}, "true is true"),
])
def test_booleans_are_told(profile, where):
    with pytest.raises(UnusableError) as told:
        text_of(profile)
    assert where in str(told.value)


def test_words_are_no_booleans():
    assert not list(booleans({"offloads": {"lro": "off"}, "priority": 1, "x": None}))
