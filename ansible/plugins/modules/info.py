#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: info
short_description: What netuned tells of a host
version_added: 0.1.0
description:
  - Returns what C(netunedctl) tells with C(--json) - how cards are, what would be changed, and what costs packets, CPU time or latency.
  - It changes nothing, and starts no daemon. Where none runs, C(netunedctl) looks itself, and says so.
author:
  - The netuned authors (@netuned)
options:
  gather:
    description:
      - What is asked for. V(doctor) takes as long as O(doctor_for).
    type: list
    elements: str
    choices: [status, plan, doctor]
    default: [status, plan]
  doctor_for:
    description:
      - How long V(doctor) counts packets and interrupts, such as C(10s) or C(2min).
    type: str
    default: 10s
extends_documentation_fragment:
  - netuned.netuned.attributes
attributes:
  check_mode:
    support: full
    details:
      - This does not modify state.
  diff_mode:
    support: N/A
    details:
      - This does not modify state.
"""

EXAMPLES = r"""
- name: How are the cards
  netuned.netuned.info:
  register: netuned

- name: Nothing is to be done
  ansible.builtin.assert:
    that:
      - netuned.plan.changes == []
      - netuned.status.manager.profile_errors == []

- name: What netunedctl fleet drift reads
  ansible.builtin.copy:
    content: "{{ netuned.status | to_json }}"
    dest: "status/{{ inventory_hostname }}.json"
    mode: "0644"
  delegate_to: localhost

- name: What costs packets
  netuned.netuned.info:
    gather: [doctor]
    doctor_for: 30s
"""

RETURN = r"""
status:
  description: As C(netunedctl status --json) has it.
  returned: when asked for
  type: dict
  contains:
    manager:
      description: The daemon, its profiles, their errors, conflicts and the host's own settings.
      type: dict
    nics:
      description: The cards.
      type: list
      elements: dict
plan:
  description: As C(netunedctl plan --json) has it.
  returned: when asked for
  type: dict
doctor:
  description: As C(netunedctl doctor --json) has it.
  returned: when asked for
  type: dict
  contains:
    findings:
      description: What costs something, the most costly first.
      type: list
      elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.netuned.netuned.plugins.module_utils import netunedctl


def main():
    module = AnsibleModule(
        argument_spec={
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": ["status", "plan", "doctor"],
                "default": ["status", "plan"],
            },
            "doctor_for": {"type": "str", "default": "10s"},
        },
        supports_check_mode=True,
    )
    more = {"doctor": ["--for", module.params["doctor_for"]]}
    result = {}
    for what in module.params["gather"]:
        result[what], said = netunedctl.ask(module, [what] + more.get(what, []))
        for line in said:
            module.warn(line)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
