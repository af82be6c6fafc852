#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: snapshot
short_description: Fetches what netuned reads of a host
version_added: 0.1.0
description:
  - Takes a snapshot with C(netunedctl snapshot) and puts it onto the controller, where C(netunedctl fleet plan) plans
    changes for it, and C(netunedctl doctor) examines it.
  - On the host nothing is left and nothing is changed.
author:
  - The netuned authors (@netuned)
options:
  dest:
    description:
      - Where to, on the controller. With a slash at its end it is a directory, which is made if needed, and the file
        in it is called after the host, C(INVENTORY_HOSTNAME.tar.xz).
    type: path
    required: true
  macs:
    description:
      - Include MAC addresses, which a profile may match by.
    type: bool
    default: false
  counted_for:
    description:
      - How long the host's counters are taken for, such as C(10s); without it they are not.
    type: str
  force:
    description:
      - Replace a snapshot that is there. With V(false) it stays, and the host is not asked.
    type: bool
    default: true
extends_documentation_fragment:
  - netuned.netuned.attributes
attributes:
  check_mode:
    support: full
    details:
      - No snapshot is taken, and a change is reported if one would be.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Snapshots of all hosts, for a plan of the fleet
  netuned.netuned.snapshot:
    dest: hosts/

- name: One that is taken only once
  netuned.netuned.snapshot:
    dest: "hosts/{{ inventory_hostname }}.tar.xz"
    macs: true
    force: false
"""

RETURN = r"""
dest:
  description: The file on the controller.
  returned: always
  type: str
bytes:
  description: How long it is.
  returned: when a snapshot was taken
  type: int
left_out:
  description: What is not in it, and why.
  returned: when a snapshot was taken
  type: list
  elements: dict
unreadable:
  description: What could not be read, and why.
  returned: when a snapshot was taken
  type: list
  elements: dict
"""

import base64
import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.netuned.netuned.plugins.module_utils import netunedctl


def main():
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "macs": {"type": "bool", "default": False},
            "counted_for": {"type": "str"},
            "force": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    place = tempfile.mkdtemp(dir=module.tmpdir)
    try:
        path = os.path.join(place, "netuned-snapshot.tar.xz")
        words = ["snapshot", path]
        words += ["--macs"] if module.params["macs"] else []
        words += ["--for", module.params["counted_for"]] if module.params["counted_for"] else []
        taken, dummy = netunedctl.ask(module, words)
        with open(path, "rb") as file:
            content = file.read()
    finally:
        shutil.rmtree(place)
    module.exit_json(
        changed=False,  # the action that writes the file says
        bytes=taken["bytes"],
        left_out=taken["left_out"],
        unreadable=taken["unreadable"],
        content=base64.b64encode(content).decode("ascii"),
    )


if __name__ == "__main__":
    main()
