# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

"""Gives the module of this name its profile as text: from a file of the controller, or of a mapping."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
from datetime import date

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_native, to_text
from ansible.plugins.action import ActionBase

HEAD = "# Written by Ansible, netuned.netuned.profile.\n"
PLAIN = (str, int, float)
"""What a profile has, beside nothing."""


class UnusableError(Exception):
    """What the task says makes no profile; its text is why."""


class ActionModule(ActionBase):

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        super(ActionModule, self).run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            if arguments.get("src") is not None and arguments.get("content") is not None:
                raise UnusableError("a profile has content or src, not both")
            if arguments.get("src") is not None:
                arguments["content"] = self._read(arguments.pop("src"))
            elif isinstance(arguments.get("content"), dict):
                arguments["content"] = text_of(arguments["content"])
        except UnusableError as error:
            return {"failed": True, "changed": False, "msg": to_native(error)}
        return self._execute_module(module_name="netuned.netuned.profile", module_args=arguments, task_vars=task_vars)

    def _read(self, src):
        try:
            path = self._loader.get_real_file(self._find_needle("files", src))
            with open(path, "rb") as file:
                return to_text(file.read(), errors="surrogate_or_strict")
        except (AnsibleError, OSError, UnicodeError) as error:
            raise UnusableError("src: %s" % to_native(error))


def text_of(profile):
    """A mapping as the text of a profile. Raises: UnusableError for what a profile cannot hold."""
    for path, value in leaves(profile):
        if isinstance(value, bool):
            raise UnusableError(
                "content: %s is %s. A playbook's YAML makes that of on, off, yes and no, and no profile has it: quote the word"
                % (path, str(value).lower()))
        if isinstance(value, date):
            raise UnusableError("content: %s is %s, which a playbook's YAML makes a date, and no profile has one: quote it"
                                % (path, value))
        if not (value is None or isinstance(value, PLAIN)):
            raise UnusableError("content: %s is a %s, and a profile has text and numbers only" % (path, type(value).__name__))
    # of the template's own kinds of text and numbers plain ones
    plain = json.loads(json.dumps(profile))
    return HEAD + yaml.safe_dump(plain, default_flow_style=False, sort_keys=False, allow_unicode=True)


def leaves(value, path=""):
    """Keys and values of a mapping that hold no others, as (path, value)."""
    if isinstance(value, dict):
        for key in value:
            below = "%s" % (str(key).lower() if isinstance(key, bool) else key)
            below = "%s.%s" % (path, below) if path else below
            yield below, key
            yield from leaves(value[key], below)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, "%s[%d]" % (path, number))
    else:
        yield path, value
