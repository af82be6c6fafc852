#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: apply
short_description: Brings profiles into force, and keeps that only if the host can still be reached
version_added: 0.1.0
description:
  - Has the daemon bring a host's cards into the state that their profiles describe, with a clock running on the host.
    Unless it is confirmed in time, all of it goes back, whatever has become of controller and network.
  - The controller then makes a new connection to the host. The changes are confirmed over it if O(checks) and
    O(host_checks) succeed. Else they are rolled back, and the task fails.
  - It does what C(netunedctl apply --confirm) and C(netunedctl confirm) do. As these it ends pauses, such as one that
    M(netuned.netuned.profile) has begun with O(netuned.netuned.profile#module:activate=false).
  - Where nothing is to be changed, nothing is, and no checks are made.
  - Each host has a clock and a job of its own, so hosts may be done in any order and number (C(serial), C(throttle),
    C(strategy)). With C(serial) a change that one host does not survive reaches no other.
  - After a rollback the profiles stay as files, and are left out of force until they change or this is run again.
author:
  - The netuned authors (@netuned)
options:
  state:
    description:
      - V(confirmed) - apply, connect anew, check, confirm. With O(id) what V(trial) began is checked and confirmed.
      - V(trial) - apply, connect anew and check, and leave it to a later task to confirm. Whatever fails between is
        rolled back by the host's clock.
      - V(rolled_back) - what O(id) names is undone now. It fails where that was confirmed before.
    type: str
    choices: [confirmed, trial, rolled_back]
    default: confirmed
  id:
    description:
      - Which trial, as RV(trial.id) of an earlier task.
    type: str
  confirm:
    description:
      - How long the changes wait to be confirmed, such as C(60s) or C(2min), at most C(1h).
      - It is also how long the controller tries to reach the host and to make the checks succeed.
    type: str
    default: 60s
  nic:
    description:
      - Only this card. Without it all cards.
    type: str
  checks:
    description:
      - Lines of shell that are run on the controller, over and over until they succeed or the time is over.
    type: list
    elements: str
    default: []
  host_checks:
    description:
      - The same, run on the host over the new connection.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - netuned.netuned.attributes
attributes:
  check_mode:
    support: full
    details:
      - It says what would be changed of the profiles that are on the host, and begins no trial.
  diff_mode:
    support: full
notes:
  - This is carried out on the controller by an action plugin, which has M(netuned.netuned.apply_step) run on the host.
  - Connections by C(ssh) are kept from waiting forever for a host that is gone (C(ServerAliveInterval)).
seealso:
  - module: netuned.netuned.profile
"""

EXAMPLES = r"""
- name: Bring it into force, and keep it if the host can be reached
  netuned.netuned.apply:

- name: And if it serves
  netuned.netuned.apply:
    confirm: 2min
    checks:
      - curl --fail --silent --max-time 5 http://{{ ansible_host | default(inventory_hostname) }}/health
    host_checks:
      - ping -c 3 -W 1 192.0.2.1

- name: With any tasks as checks
  block:
    - name: Try it
      netuned.netuned.apply:
        state: trial
        confirm: 5min
      register: tried

    - name: Is the service there
      ansible.builtin.wait_for:
        host: "{{ ansible_host | default(inventory_hostname) }}"
        port: 443
      delegate_to: localhost

    - name: Keep it
      netuned.netuned.apply:
        id: "{{ tried.trial.id }}"
      when: tried.trial is defined
"""

RETURN = r"""
applied:
  description: What was changed, as C(netunedctl apply --json) has it.
  returned: when something was to be changed
  type: list
  elements: dict
pending:
  description: What is still to be changed. The host's own settings are, until the trial is confirmed.
  returned: when something was to be changed
  type: list
  elements: dict
problems:
  description: What stands in the way.
  returned: always
  type: list
  elements: dict
plan:
  description: What was to be changed, as C(netunedctl plan --json) has it.
  returned: when something was to be changed
  type: dict
trial:
  description: The trial.
  returned: when something was changed
  type: dict
  contains:
    id:
      description: What M(netuned.netuned.apply) takes as O(id).
      type: str
    until:
      description: When it goes back, in the host's local time.
      type: str
confirmed:
  description: Whether it is kept.
  returned: when something was changed
  type: bool
rolled_back:
  description: Whether it is known to have gone back.
  returned: on failure, and with O(state=rolled_back)
  type: bool
"""
