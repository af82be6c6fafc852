#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: apply_step
short_description: One step of M(netuned.netuned.apply) on the host
version_added: 0.1.0
description:
  - What M(netuned.netuned.apply) has a host do. It is not for playbooks, and may change with any version.
author:
  - The netuned authors (@netuned)
options:
  step:
    description:
      - V(begin) - start C(netunedctl apply --confirm), if anything is to be changed, as a process that no connection holds.
      - V(wait) - how that has ended, if it did.
      - V(confirm) - keep the trial.
      - V(rollback) - undo the trial, or how it ended where it waits no longer.
    type: str
    choices: [begin, wait, confirm, rollback]
    required: true
  job:
    description: What the controller calls what V(begin) starts.
    type: str
  id:
    description: The trial's, for V(confirm) and V(rollback).
    type: str
  confirm:
    description: As of M(netuned.netuned.apply).
    type: str
    default: 60s
  nic:
    description: As of M(netuned.netuned.apply).
    type: str
extends_documentation_fragment:
  - netuned.netuned.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
seealso:
  - module: netuned.netuned.apply
"""

EXAMPLES = r"""
- name: What netuned.netuned.apply does first
  netuned.netuned.apply_step:
    step: begin
    job: 6f1c2d3e
"""

RETURN = r"""
begun:
  description: Whether a job was started.
  returned: with V(begin)
  type: bool
ended:
  description: Whether it has ended.
  returned: with V(wait)
  type: bool
answer:
  description: What C(netunedctl apply --json) printed.
  returned: with V(wait), when it has ended
  type: dict
confirmed:
  description: That the trial was confirmed before.
  returned: with V(rollback), where that is so
  type: bool
rolled_back:
  description: That the trial is rolled back.
  returned: with V(rollback), where that is known
  type: bool
"""

import errno
import json
import os
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.netuned.netuned.plugins.module_utils import netunedctl

JOBS = "/run/netuned-ansible"
OLD_S = 7200
"""Twice as long as any trial."""
WAIT_S = 5

RUN = ('exec </dev/null >/dev/null 2>&1; out=$1; shift; "$@" >"$out.out" 2>"$out.err"; '
       'echo $? >"$out.draft"; mv "$out.draft" "$out.rc"')
"""Keeps what a command says and how it ends in files that are called after the first argument."""


def begin(module):
    """Start netunedctl, if anything is to be changed, as a process that no connection holds."""
    words = [module.params["nic"]] if module.params["nic"] else []
    if module.check_mode and netunedctl.find(module) is None:
        module.warn(netunedctl.NOT_YET)
        module.exit_json(changed=False)
    status, dummy = netunedctl.ask(module, ["status"])
    if status["manager"]["state"] == "not-running" and not module.check_mode:
        module.fail_json(msg="netuned is not running on this host, so nothing can be applied: systemctl enable --now netuned")
    plan, said = netunedctl.ask(module, ["plan"] + words)
    result = {"changed": False, "problems": plan["problems"]}
    paused = [nic["name"] for nic in status["nics"] if nic["state"] == "paused"]
    if not (plan["changes"] or paused):
        module.exit_json(**result)
    result.update(changed=True, plan=plan, diff=[netunedctl.kernel_diff(plan)])
    if module.check_mode:
        module.exit_json(**result)
    make_directory()
    make_room()
    command = [netunedctl.find(module), "apply"] + words + ["--confirm", module.params["confirm"], "--json"]
    status, dummy, err = module.run_command(["setsid", "--fork", "/bin/sh", "-c", RUN, "sh", file_of(module)] + command)
    if status:
        module.fail_json(msg="it could not be begun: %s" % err, rc=status)
    module.exit_json(begun=True, **result)


def make_directory():
    """The directory of jobs, which is root's alone. Another play may make it meanwhile."""
    try:
        os.mkdir(JOBS, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def make_room():
    """Forget the jobs that ended long ago. Another play may do so meanwhile."""
    for name in os.listdir(JOBS):
        path = os.path.join(JOBS, name)
        try:
            if os.stat(path).st_mtime < time.time() - OLD_S:
                os.unlink(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def file_of(module, kind=""):
    return os.path.join(JOBS, module.params["job"] + kind)


def wait(module):
    """How the job ended, if it does within a few seconds."""
    deadline = time.time() + WAIT_S
    while not os.path.exists(file_of(module, ".rc")):
        if not os.path.exists(file_of(module, ".out")):
            module.fail_json(msg="it was never begun on the host", begun=False)
        if time.time() > deadline:
            module.exit_json(changed=False, ended=False)
        time.sleep(0.1)
    status, out, err = [read(file_of(module, kind)) for kind in (".rc", ".out", ".err")]
    try:
        answer = json.loads(out)
    except ValueError:
        module.exit_json(changed=False, ended=True, rc=int(status), said=netunedctl.message(err or out))
    module.exit_json(changed=False, ended=True, rc=int(status), said=netunedctl.message(err), answer=answer)


def read(path):
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def confirm(module):
    """Keep the trial. A controller that did not hear of it may ask again."""
    wanted = module.params["id"]
    done = confirmation(module)
    if module.check_mode:
        module.exit_json(changed=not os.path.exists(done) and waits(module, wanted))
    if not os.path.exists(done):
        netunedctl.do(module, ["confirm", wanted])
        make_directory()
        with open(done, "wb"):
            pass
        make_room()
    module.exit_json(changed=True)


def confirmation(module):
    """The file that tells of a trial that it was confirmed."""
    if not re.match(r"\w+$", module.params["id"]):
        module.fail_json(msg="%r is no id of a trial" % module.params["id"])
    return os.path.join(JOBS, module.params["id"] + ".confirmed")


def roll_back(module):
    """Undo the trial, or tell how it ended where it waits no longer."""
    wanted = module.params["id"]
    if os.path.exists(confirmation(module)):
        module.exit_json(changed=False, confirmed=True)
    waiting = waits(module, wanted)
    if module.check_mode:
        module.exit_json(changed=waiting)
    if not waiting:
        module.exit_json(changed=False, **end_of(module, wanted))
    status, dummy, err = netunedctl.call(module, ["rollback", wanted])
    if not status:
        module.exit_json(changed=True, rolled_back=True)
    if waits(module, wanted):
        module.fail_json(msg=netunedctl.message(err), rc=status)
    ended = end_of(module, wanted)
    if "confirmed" not in ended:
        module.warn(netunedctl.message(err))
    module.exit_json(changed=bool(ended.get("rolled_back")), **ended)


def waits(module, wanted):
    """Whether a trial waits to be confirmed, or is not rolled back in full. Ends the module where nobody can tell."""
    manager = netunedctl.ask(module, ["status"])[0]["manager"]
    if manager["state"] == "not-running":
        module.fail_json(msg="netuned is not running on this host, and goes on with what waits once it does: "
                             "systemctl start netuned")
    return re.search("(^|; )%s: " % wanted, manager["pending_confirm"]) is not None


def end_of(module, wanted):
    """How a trial ended that waits no longer: ``confirmed`` or ``rolled_back``, and neither where netuned cannot tell.

    Cards that are left alone say which trial of theirs was rolled back. The rest has the journal, if one is kept.
    """
    status, dummy = netunedctl.ask(module, ["status"])
    reasons = [setting["reason"] for nic in status["nics"] for setting in nic["settings"]]
    if any(re.search("(^|; )%s was not confirmed and was rolled back" % wanted, reason) for reason in reasons):
        return {"rolled_back": True}
    failed, out, dummy = netunedctl.call(module, ["history", "--json"])
    for entry in [] if failed else reversed(json.loads(out)["entries"]):
        if entry["kind"] != "trial":
            continue
        if entry["cause"] == "%s is confirmed" % wanted:
            return {"confirmed": True}
        if entry["cause"].startswith("%s is rolled back: " % wanted):
            return {"rolled_back": True}
    return {}


STEPS = {"begin": begin, "wait": wait, "confirm": confirm, "rollback": roll_back}


def main():
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": ["begin", "wait", "confirm", "rollback"], "required": True},
            "job": {"type": "str"},
            "id": {"type": "str"},
            "confirm": {"type": "str", "default": "60s"},
            "nic": {"type": "str"},
        },
        required_if=[
            ("step", "begin", ["job"]),
            ("step", "wait", ["job"]),
            ("step", "confirm", ["id"]),
            ("step", "rollback", ["id"]),
        ],
        supports_check_mode=True,
    )
    STEPS[module.params["step"]](module)


if __name__ == "__main__":
    main()
