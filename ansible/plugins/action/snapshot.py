# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

"""Writes what the module of this name has taken into a file of the controller."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import os
import tempfile

from ansible.module_utils.common.text.converters import to_native
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.path import makedirs_safe


class ActionModule(ActionBase):

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        dest = self._task.args.get("dest")
        if not dest:
            return dict(result, failed=True, msg="dest says where the snapshot is to be on the controller")
        path = self._loader.path_dwim(dest)
        if dest.endswith(os.sep):
            path = os.path.join(path, "%s.tar.xz" % task_vars["inventory_hostname"].replace(os.sep, "_"))
        result["dest"] = path
        if os.path.exists(path) and not boolean(self._task.args.get("force", True)):
            return result
        if self._task.check_mode:
            result["changed"] = True
            return result
        taken = self._execute_module(module_name="netuned.netuned.snapshot", module_args=self._task.args,
                                     task_vars=task_vars)
        if taken.get("failed"):
            return taken
        content = base64.b64decode(taken.pop("content"))
        result.update(taken)
        try:
            result["changed"] = write(path, content)
        except OSError as error:
            return dict(result, failed=True, msg="%s: cannot be written: %s" % (path, to_native(error.strerror)))
        return result


def write(path, content):
    """Write the whole file or nothing of it: whether that changed it."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return False
    directory = os.path.dirname(path)
    makedirs_safe(directory)
    descriptor, draft = tempfile.mkstemp(dir=directory, prefix=".netuned-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise
    return True
