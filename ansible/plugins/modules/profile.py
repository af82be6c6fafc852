#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: profile
short_description: A profile of netuned on a host
version_added: 0.1.0
description:
  - Puts a profile into C(/etc/netuned/profiles.d), takes it away, or masks one of that name from a directory below.
  - Nothing is written that netuned would not take. The message is netuned's own then, with file, line and column.
  - What comes of it is planned on the host by the daemon's own planner before anything is written, in check mode too.
    With C(--diff) the kernel's settings are shown before and after, beside the text of the file.
  - The daemon brings a profile into force as soon as its file is there. With O(activate=false) it is left to
    M(netuned.netuned.apply), which undoes what cuts the host off.
author:
  - The netuned authors (@netuned)
options:
  name:
    description:
      - What the file is called, without C(.yaml). It is the profile's name, unless the profile says another.
    type: str
    required: true
  state:
    description:
      - V(present) - the profile is as O(content) or O(src) say.
      - V(absent) - there is no such file in C(/etc/netuned/profiles.d). One of that name from a directory below counts again.
      - V(masked) - there is an empty file, so that a profile of that name from a directory below is none.
    type: str
    choices: [present, absent, masked]
    default: present
  content:
    description:
      - The profile, as a mapping or as text in YAML.
      - A playbook's YAML makes booleans of C(on), C(off), C(yes) and C(no), which no profile has. Quote them in a
        mapping. A text and O(src) stay as they are.
    type: raw
  src:
    description:
      - The profile, as a file on the controller, looked for in C(files) as M(ansible.builtin.copy) does.
    type: path
  activate:
    description:
      - Whether the change is brought into force now, before the task ends.
      - With V(false) the host's cards are paused before a file is written that would change anything, so that
        M(netuned.netuned.apply) brings it into force. If that never comes, nothing was changed but the file, and
        C(netunedctl status) shows the cards as paused.
    type: bool
    default: true
  backup:
    description:
      - Keep a copy of the file as it was before, beside it.
    type: bool
    default: false
extends_documentation_fragment:
  - netuned.netuned.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
notes:
  - Modes and owners are netuned's to judge, so a file is always root's, C(0644).
seealso:
  - module: netuned.netuned.apply
"""

EXAMPLES = r"""
- name: Profile from a file of the playbook
  netuned.netuned.profile:
    name: edge
    src: edge.yaml

- name: Profile as a mapping
  netuned.netuned.profile:
    name: storage
    content:
      extends: [throughput]
      match: {driver: [ice, mlx5_core]}
      coalesce: {adaptive-rx: "off", rx-usecs: 50}
    backup: true

- name: A profile that another package brought does not count here
  netuned.netuned.profile:
    name: vendor
    state: masked

- name: Change that undoes itself if it cuts the host off
  block:
    - name: Write it and bring nothing into force
      netuned.netuned.profile:
        name: edge
        src: edge.yaml
        activate: false

    - name: Bring it into force, and keep it if the host can still be reached
      netuned.netuned.apply:
        confirm: 60s
"""

RETURN = r"""
path:
  description: The profile's file.
  returned: always
  type: str
  sample: /etc/netuned/profiles.d/edge.yaml
plan:
  description:
    - What the change comes to on this host, as C(netunedctl plan --json) has it.
    - It is of all cards, so what has drifted is in it too.
  returned: when the file changes
  type: dict
  contains:
    changes:
      description: One entry for each setting that changes.
      type: list
      elements: dict
    rows:
      description: The same as people are shown it, queues with the same change in one row.
      type: list
      elements: dict
    withheld:
      description: What the profile's policy forbids.
      type: list
      elements: dict
    unsupported:
      description: What a card cannot have.
      type: list
      elements: dict
    problems:
      description: What stands in the way.
      type: list
      elements: dict
    notes:
      description: Sentences, such as why the profile is in force on no card.
      type: list
      elements: str
    warnings:
      description: That the host may be cut off.
      type: list
      elements: str
disruptive:
  description: Whether a change drops a link.
  returned: when the file changes
  type: bool
pending_confirm:
  description: What waits to be confirmed, where C(netuned.yaml) has a C(confirm_timeout).
  returned: when the change was brought into force
  type: str
backup_file:
  description: The copy of the file as it was.
  returned: with O(backup=true), where there was a file
  type: str
  sample: /etc/netuned/profiles.d/edge.yaml.4711.2026-11-27@12:00:00~
"""

import errno
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.netuned.netuned.plugins.module_utils import netunedctl

MODE = 0o644
NULL = "/dev/null"
EMPTY = b"\n"
"""A text that masks as none does; with none a command would read what the module itself is given, a terminal at worst."""


def wanted_of(module):
    """The file's content as bytes; None for none."""
    if module.params["state"] == "absent":
        return None
    if module.params["state"] == "masked":
        return b""
    content = module.params["content"]
    if content is None or not to_text(content).strip():
        module.fail_json(msg="a profile that is present has content or src, which is not empty; state=masked has none")
    return to_bytes(content)


def read(path):
    """What is there: its content, None for none, and whether it is as safe as netuned wants it. Raises: OSError."""
    found = None
    try:
        found = os.lstat(path)
        if os.path.islink(path) and os.path.realpath(path) == NULL:
            return b"", True
        with open(path, "rb") as file:
            return file.read(), found.st_uid == 0 and not found.st_mode & 0o022
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None, found is None  # not so where it is a link to nothing


def is_empty(content):
    """Whether a file of this content masks: it holds nothing but comments."""
    return all(not line.strip() or line.strip().startswith(b"#") for line in content.splitlines())


def is_so(module, found, wanted):
    """Whether a file is as it is to be."""
    if module.params["state"] == "masked":
        return found is not None and is_empty(found)
    return found == wanted


def plan(module, path, wanted):
    """The plan of this host with the file as it is to be. Ends the module if netuned would not take it."""
    words = ["plan", "--without", path] if wanted is None else ["plan", "-", "--as", path]
    answer, warnings = netunedctl.ask(module, words, data=None if wanted is None else wanted or EMPTY)
    for warning in warnings + answer["notes"] + answer["warnings"]:
        module.warn(warning)
    return answer


def write(path, content):
    """Put the file into place at one stroke, with owner and mode as netuned wants them, or take it away.

    The draft beside it has a name that is no profile's. Raises: OSError; then all is as before.
    """
    if content is None:
        os.unlink(path)
        return
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory, 0o755)
    descriptor, draft = tempfile.mkstemp(dir=directory, prefix=".ansible-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, MODE)
            os.fsync(descriptor)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def activate(module, path):
    """Have the daemon read the profiles, and wait until they are in force, but on cards that are paused.

    Returns what waits to be confirmed.
    """
    answer, dummy = netunedctl.ask(module, ["reload"], known=(0, 1))
    ours = [error for error in answer["profile_errors"] if error.startswith(path)]
    if ours:
        module.fail_json(msg="\n".join(ours), path=path)
    for told in answer["profile_errors"] + answer["problems"]:
        module.warn(told)
    return answer["pending_confirm"]


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "masked"], "default": "present"},
            "content": {"type": "raw"},
            "src": {"type": "path"},
            "activate": {"type": "bool", "default": True},
            "backup": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("content", "src")],
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not name or "/" in name or name.startswith(".") or name.endswith((".yaml", ".yml")):
        module.fail_json(msg="%r is no name of a profile's file: it has no slash, no first dot, and no .yaml" % name)
    path = netunedctl.path_of(name)
    wanted = wanted_of(module)
    try:
        found, safe = read(path)
    except OSError as error:
        module.fail_json(msg="%s: cannot be read: %s" % (path, error.strerror), path=path)
    if is_so(module, found, wanted) and safe:
        module.exit_json(changed=False, path=path)

    result = {"changed": True, "path": path, "diff": [{
        "before_header": path,
        "after_header": path,
        "before": to_text(found or b"", errors="surrogate_or_replace"),
        "after": to_text(wanted or b"", errors="surrogate_or_replace"),
    }]}
    if netunedctl.find(module) is None and module.check_mode:
        module.warn(netunedctl.NOT_YET)
        module.exit_json(**result)
    planned = plan(module, path, wanted)
    result["plan"] = planned
    result["disruptive"] = any(row["disruptive"] for row in planned["rows"])
    result["diff"].append(netunedctl.kernel_diff(planned))
    if module.check_mode:
        module.exit_json(**result)

    running = netunedctl.runs(module)
    if running and not module.params["activate"] and (planned["changes"] or planned["withheld"]):
        netunedctl.do(module, ["pause"])
    if module.params["backup"] and found is not None:
        result["backup_file"] = module.backup_local(path)
    try:
        write(path, wanted)
    except OSError as error:
        module.fail_json(msg="%s: cannot be written: %s" % (path, error.strerror), path=path)
    if running:
        pending = activate(module, path)  # also what apply is to find, which may ask sooner than the daemon reads
        if module.params["activate"]:
            result["pending_confirm"] = pending
    else:
        module.warn("netuned is not running: the profile is in force once it does")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
