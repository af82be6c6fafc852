# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

"""Calls of ``netunedctl``, the one thing that these modules need of a host."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

PROGRAM = "netunedctl"
NOT_INSTALLED = "netunedctl is not on this host; install netuned there first (the role netuned.netuned.netuned does)"
NOT_YET = "netuned is not installed yet, so nothing is planned and no profile is checked"
"""Of check mode, in which it is not installed either."""
PROFILES = "/etc/netuned/profiles.d"


def find(module):
    """The path of netunedctl, or None where netuned is not installed."""
    return module.get_bin_path(PROGRAM)


def call(module, words, data=None):
    """Run netunedctl with these words: its exit status, output and error output.

    ``data`` is its standard input, and must not be empty: then, as without, it has the module's own.
    Ends the module where netuned is not installed.
    """
    program = find(module)
    if program is None:
        module.fail_json(msg=NOT_INSTALLED)
    # names of files are in no other encoding than the words here
    return module.run_command([program] + words, data=data, binary_data=True,
                              environ_update={"LC_ALL": "C.UTF-8"})


def ask(module, words, data=None, known=(0,)):
    """What netunedctl prints with ``--json``, and what it says besides, as lines.

    With another exit status than those ``known`` the module ends with netuned's own message.
    """
    status, out, err = call(module, words + ["--json"], data=data)
    if status not in known:
        module.fail_json(msg=message(err) or message(out), rc=status)
    try:
        return json.loads(out), said(err)
    except ValueError:
        module.fail_json(msg="netunedctl %s: %s" % (" ".join(words), message(err) or "printed no JSON"), rc=status)


def do(module, words):
    """Have netunedctl do what prints nothing. Ends the module with netuned's own message if it fails."""
    status, dummy, err = call(module, words)
    if status:
        module.fail_json(msg=message(err), rc=status)


def message(text):
    """What netunedctl says of a mistake: its lines, without its own name before them."""
    return "\n".join(said(text))


def said(text):
    """The lines of a text, without netunedctl's name before them."""
    before = PROGRAM + ": "
    return [line[len(before):] if line.startswith(before) else line for line in text.splitlines() if line]


def runs(module):
    """Whether the daemon runs."""
    status, dummy = ask(module, ["status"])
    return status["manager"]["state"] != "not-running"


def path_of(name):
    """The file of a profile in the administrator's directory."""
    return os.path.join(PROFILES, name + ".yaml")


def kernel_diff(plan):
    """The plan's changes as Ansible's ``--diff`` shows them: the kernel's settings before and after."""
    rows = [("%s %s" % (row["ifname"] or "host", row["setting"]), row) for row in plan["rows"]]
    return {
        "before_header": "kernel settings now",
        "after_header": "kernel settings then",
        "before": "".join("%s: %s\n" % (name, row["before"] or "-") for name, row in rows),
        "after": "".join("%s: %s%s\n" % (name, row["after"], DISRUPTIVE if row["disruptive"] else "")
                         for name, row in rows),
    }


DISRUPTIVE = "  (drops the link)"
