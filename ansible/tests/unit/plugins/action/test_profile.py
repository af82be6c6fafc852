# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import datetime

import pytest
import yaml
from ansible_collections.netuned.netuned.plugins.action.profile import UnusableError, text_of


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
    ({"description": datetime.date(2026, 11, 27)}, "description is 2026-11-27, which a playbook's YAML makes a date"),
    ({"match": [{"name": datetime.datetime(2026, 11, 27, 14, 30)}]}, "match[0].name is 2026-11-27 14:30:00"),
    ({"rps": {datetime.date(2026, 11, 27): 1}}, "rps.2026-11-27 is 2026-11-27"),
    ({"rps": {"cpus": b"0-3"}}, "rps.cpus is a bytes"),
])
def test_what_no_profile_has_is_told(profile, where):
    with pytest.raises(UnusableError) as told:
        text_of(profile)
    assert where in str(told.value)


def test_words_are_no_booleans():
    assert yaml.safe_load(text_of({"offloads": {"lro": "off"}, "priority": 1, "x": None}))["offloads"] == {"lro": "off"}
