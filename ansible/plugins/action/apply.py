# -*- coding: utf-8 -*-
# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

"""Commit-confirm: the module of this name does each step on the host, over connections made anew."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import re
import subprocess
import time
import uuid

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_native, to_text
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

OPTIONS = {"state", "id", "confirm", "nic", "checks", "host_checks"}
UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600}
MOST_S = 3600
PAUSE_S = 1.0
AFTER_S = 60.0
"""How long a host that was rolled back is waited for, to say that it is back."""
UNKNOWN = "does not wait any more; how it ended cannot be told"
KEEP_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=2"


class LostError(Exception):
    """No answer of the host came in time; its text is why."""


class WrongError(Exception):
    """The task's arguments do not fit each other; its text is why."""


class ActionModule(ActionBase):

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        super(ActionModule, self).run(tmp, task_vars)
        self._vars = task_vars
        try:
            return self._run()
        except WrongError as error:
            return {"failed": True, "changed": False, "msg": to_native(error)}

    def _run(self):
        self._arguments = dict(self._task.args)
        unknown = sorted(set(self._arguments) - OPTIONS)
        if unknown:
            raise WrongError("unknown: %s; there are %s" % (", ".join(unknown), ", ".join(sorted(OPTIONS))))
        self._job = uuid.uuid4().hex
        state = self._arguments.get("state") or "confirmed"
        trial = self._arguments.get("id")
        for checks in ("checks", "host_checks"):
            if isinstance(self._arguments.get(checks), str):
                self._arguments[checks] = [self._arguments[checks]]
        seconds = seconds_of(self._arguments.get("confirm") or "60s")
        if state == "rolled_back":
            if not trial:
                raise WrongError("state=rolled_back needs the id of a trial")
            return self._roll_back(trial)
        if state == "trial" and trial:
            raise WrongError("state=trial begins a trial, so it takes no id")
        self._keep_alive()
        self._deadline = time.monotonic() + seconds
        if trial:
            return self._step("confirm", trial) if self._task.check_mode else self._conclude(state, trial, {"changed": True})
        return self._apply(state)

    def _roll_back(self, trial):
        """What is undone at once, and not only if it must be."""
        result = self._step("rollback", trial)
        if result.get("confirmed"):
            return dict(result, failed=True, rolled_back=False, msg="%s was confirmed before, and is in force" % trial)
        if not (self._task.check_mode or result.get("failed") or result.get("rolled_back")):
            said = result.get("warnings", []) + ["%s %s" % (trial, UNKNOWN)]
            result.update(rolled_back=False, warnings=said)
        return result

    def _apply(self, state):
        """Begin, hear of it over a new connection, and conclude."""
        try:
            result = self._step("begin")
        except AnsibleError as error:
            if self._task.check_mode:
                raise
            # it may have begun all the same
            display.vv("netuned: %s" % to_native(error))
            result = {"changed": True, "begun": True}
        if not result.pop("begun", False) or result.get("failed"):
            return result
        try:
            ended = self._until("wait", done=lambda answer: answer.get("ended") or answer.get("failed"))
        except LostError as error:
            return self._undone(result, None, to_native(error))
        if ended.get("failed"):
            return dict(result, changed=False, failed=True, msg=ended["msg"])
        answer = ended.get("answer") or {}
        result.update((key, answer[key]) for key in ("applied", "pending", "problems") if key in answer)
        result["warnings"] = list(answer.get("warnings", []))
        trial = answer.get("confirm") or {}
        if ended["rc"]:
            why = ended.get("said") or "; ".join(
                problem["message"] for problem in answer.get("problems", [])) or "not all could be applied"
            return self._undone(result, trial.get("id"), "not all could be applied: %s" % why)
        if not trial:
            return dict(result, changed=bool(result.get("applied")))
        result["trial"] = trial
        return self._conclude(state, trial["id"], result)

    def _conclude(self, state, trial, result):
        """Check, and confirm over a new connection."""
        checked = False
        try:
            for check in self._arguments.get("checks") or []:
                self._check(check, self._on_controller)
            for check in self._arguments.get("host_checks") or []:
                self._check(check, self._on_host)
            if state == "trial":
                return dict(result, confirmed=False)
            checked = True
            confirmed = self._until("confirm", trial)
        except LostError as error:
            return self._undone(result, trial, to_native(error), checked)
        if confirmed.get("failed"):
            return self._undone(result, trial, "not confirmed: %s" % confirmed["msg"], checked)
        return dict(result, confirmed=True)

    def _check(self, check, run):
        """Run a check until it succeeds. Raises: LostError with what it said last."""
        while True:
            status, said = run(check)
            if status == 0:
                return
            if time.monotonic() + PAUSE_S > self._deadline:
                raise LostError("the check `%s` did not succeed: %s" % (check, said.strip() or "exit status %s" % status))
            time.sleep(PAUSE_S)

    def _on_controller(self, check):
        left = max(self._deadline - time.monotonic(), PAUSE_S)
        try:
            done = subprocess.run(["/bin/sh", "-c", check], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=left, check=False)
        except subprocess.TimeoutExpired:
            return -1, "it did not end"
        return done.returncode, to_text(done.stdout, errors="surrogate_or_replace")

    def _on_host(self, check):
        try:
            self._reset()
            done = self._low_level_execute_command(check)
        except AnsibleError as error:
            return -1, to_text(error)
        return done["rc"], "%s%s" % (done["stdout"], done["stderr"])

    def _until(self, step, trial=None, done=lambda answer: True, deadline=None):
        """Do a step over a new connection, again and again until there is an answer. Raises: LostError."""
        why = "no time was left"
        while time.monotonic() < (deadline or self._deadline):
            try:
                self._reset()
                answer = self._step(step, trial)
            except AnsibleError as error:
                why = to_native(error).strip()
            else:
                if "module_stdout" in answer:  # it did not run to its end
                    why = to_native(answer.get("msg"))
                elif done(answer):
                    return answer
                else:
                    continue
            display.vv("netuned: %s: %s" % (step, why))
            time.sleep(PAUSE_S)
        raise LostError("the host was not reached over a new connection in time: %s" % why)

    def _step(self, step, trial=None):
        arguments = {"step": step, "job": self._job, "id": trial}
        arguments.update((name, self._arguments.get(name)) for name in ("confirm", "nic"))
        arguments = {name: value for name, value in arguments.items() if value is not None}
        return self._execute_module(module_name="netuned.netuned.apply_step", module_args=arguments, task_vars=self._vars)

    def _reset(self):
        """What `meta: reset_connection` does: the next command makes a connection of its own."""
        try:
            self._connection.reset()
        except AttributeError:  # a connection that has nothing to keep
            pass

    def _keep_alive(self):
        """Have ssh notice within seconds that a host is gone, where it would wait for ever."""
        if self._connection.transport == "ssh":
            given = self._connection.get_option("ssh_extra_args") or ""
            self._connection.set_option("ssh_extra_args", ("%s %s" % (given, KEEP_ALIVE)).strip())

    def _undone(self, result, trial, why, checked=False):
        """The failure, once the host has rolled back, or could be asked no more.

        It is none where the checks have succeeded and the trial is confirmed.
        """
        result = dict(result, failed=True, confirmed=False, rolled_back=False)
        try:
            if trial:
                back = self._until("rollback", trial, deadline=max(time.monotonic(), self._deadline) + AFTER_S)
            else:
                # nobody was told the id: the clock does it
                time.sleep(max(0.0, self._deadline - time.monotonic()))
                ended = self._until("wait", done=lambda answer: answer.get("ended") or answer.get("failed"),
                                    deadline=time.monotonic() + AFTER_S)
                if ended.get("failed"):
                    return dict(result, changed=False, msg="%s. Nothing is to be undone: %s" % (why, ended["msg"]))
                trial = ((ended.get("answer") or {}).get("confirm") or {}).get("id")
                if not trial:
                    result["msg"] = "%s. The host told of no trial; what waits there all the same goes back by itself." % why
                    return result
                back = self._until("rollback", trial, deadline=time.monotonic() + AFTER_S)
        except LostError as error:
            result["msg"] = "%s. The host rolls back by itself; it was not reached to see that: %s" % (why, to_native(error))
            return result
        result["warnings"] = result.get("warnings", []) + back.get("warnings", [])
        if back.get("confirmed") and checked:  # only the answer that said so was lost
            return dict(result, failed=False, confirmed=True)
        if back.get("confirmed"):
            return dict(result, confirmed=True, msg="%s. It is in force all the same, for it was confirmed." % why)
        if back.get("failed"):
            result["msg"] = "%s. It could not be rolled back yet, and is tried again: %s" % (why, back["msg"])
            return result
        known = bool(back.get("rolled_back"))
        result.update(rolled_back=known, msg="%s. It %s." % (why, "was rolled back" if known else UNKNOWN))
        return result


def seconds_of(text):
    """The seconds of ``60s``, ``2min`` or ``1h``, as netuned takes them. Raises: WrongError."""
    match = re.match(r"(\d{1,4})\s*(s|min|m|h)$", to_text(text))
    seconds = int(match.group(1)) * UNITS_S[match.group(2)] if match else 0
    if not 0 < seconds <= MOST_S:
        raise WrongError("confirm: %r is not a time like 60s or 2min, up to 1h" % to_native(text))
    return seconds
