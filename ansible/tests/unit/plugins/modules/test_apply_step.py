# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os

import pytest
from ansible_collections.netuned.netuned.plugins.modules import apply_step


class Ended(Exception):
    """The module has ended; its argument is the result."""


class Module:
    """A module on a host whose netunedctl answers by its first word: exit status and what it prints, in turn."""

    def __init__(self, answers, check_mode=False):
        self.params, self.check_mode = {"id": "abc", "job": "1", "nic": None, "confirm": "60s"}, check_mode
        self.answers, self.asked, self.warned = answers, [], []

    def get_bin_path(self, name):
        return "/usr/bin/" + name

    def run_command(self, command, data=None, binary_data=False, environ_update=None):
        word = command[1]
        self.asked.append(word)
        answers = self.answers[word]
        status, printed = answers.pop(0) if len(answers) > 1 else answers[0]
        text = printed if isinstance(printed, str) else json.dumps(printed)
        return (status, "", text) if status else (status, text, "")

    def warn(self, text):
        self.warned.append(text)

    def exit_json(self, **result):
        raise Ended(result)

    def fail_json(self, **result):
        raise Ended(dict(result, failed=True))


@pytest.fixture(autouse=True)
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(apply_step, "JOBS", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


def status(pending="", reason="", state="in-sync"):
    nic = {"state": state, "settings": [{"reason": ""}, {"reason": reason}]}
    return 0, {"manager": {"state": state, "pending_confirm": pending}, "nics": [nic]}


def history(*causes):
    entries = [{"kind": "change", "cause": "abc is confirmed"}] + [{"kind": "trial", "cause": cause} for cause in causes]
    return 0, {"entries": entries, "more": False}


WAITS = "def: lan1, until 14:30; abc: lan0, until 14:31"
BACK = "abc was not confirmed and was rolled back; `netunedctl apply lan0` brings it into force"
NO_JOURNAL = (1, "netunedctl: there is no journal")
NOTHING = (0, "")


def end(step, answers, **more):
    module = Module(answers, **more)
    with pytest.raises(Ended) as ended:
        step(module)
    result = ended.value.args[0]
    if module.warned:
        result["warnings"] = module.warned
    return result, module.asked


@pytest.mark.parametrize("answers, result", [
    ({"status": [status(WAITS)], "rollback": [NOTHING]}, {"changed": True, "rolled_back": True}),
    ({"status": [status(WAITS), status(reason="set by irqbalance; " + BACK)], "rollback": [(1, "netunedctl: rx-1: refused")]},
     {"changed": True, "rolled_back": True, "warnings": ["rx-1: refused"]}),
    ({"status": [status(reason=BACK)]}, {"changed": False, "rolled_back": True}),
    ({"status": [status()], "history": [history("abc waits to be confirmed", "abc is rolled back: not confirmed in time")]},
     {"changed": False, "rolled_back": True}),
    ({"status": [status()], "history": [history("abc is confirmed", "def is rolled back: as asked for")]},
     {"changed": False, "confirmed": True}),
    ({"status": [status(reason=BACK.replace("abc", "def"))], "history": [history("abc waits to be confirmed")]},
     {"changed": False}),
    ({"status": [status()], "history": [NO_JOURNAL]}, {"changed": False}),
    ({"status": [status("abcd: lan0, until 14:30")], "history": [NO_JOURNAL]}, {"changed": False}),
    ({"status": [status("def: abc, until 14:30")], "history": [NO_JOURNAL]}, {"changed": False}),
])
def test_how_a_trial_ended_is_netuneds_to_say(answers, result):
    assert end(apply_step.roll_back, answers)[0] == result


def test_one_that_was_confirmed_just_now_is_not_rolled_back():
    answers = {"status": [status(WAITS), status()], "rollback": [(1, "it does not wait")], "history": [history("abc is confirmed")]}
    assert end(apply_step.roll_back, answers)[0] == {"changed": False, "confirmed": True}


def test_without_a_daemon_nobody_can_tell():
    result = end(apply_step.roll_back, {"status": [status(state="not-running")]})[0]
    assert result["failed"] and "not running" in result["msg"]


@pytest.mark.parametrize("step", [apply_step.confirm, apply_step.roll_back])
def test_check_mode_tells_whether_it_waits(step, jobs):
    for pending, changed in ((WAITS, True), ("", False)):
        assert end(step, {"status": [status(pending)]}, check_mode=True) == ({"changed": changed}, ["status"])
    assert not jobs.exists()


def test_a_confirmation_is_on_record_before_there_is_time_to_fail(jobs, monkeypatch):
    def killed():
        raise Ended({"killed": True})

    monkeypatch.setattr(apply_step, "make_room", killed)
    assert end(apply_step.confirm, {"confirm": [NOTHING]})[0] == {"killed": True}
    assert end(apply_step.roll_back, {}) == ({"changed": False, "confirmed": True}, [])


def test_another_play_makes_room_too(jobs, monkeypatch):
    apply_step.make_directory()
    apply_step.make_directory()
    for name in ("old.rc", "older.rc", "new.rc"):
        (jobs / name).write_bytes(b"")
    os.utime(str(jobs / "old.rc"), (0, 0))
    os.utime(str(jobs / "older.rc"), (0, 0))
    listed = os.listdir

    def raced(path):
        names = listed(path)
        os.unlink(os.path.join(path, "older.rc"))
        return names

    monkeypatch.setattr(os, "listdir", raced)
    apply_step.make_room()
    assert listed(str(jobs)) == ["new.rc"]


def test_a_daemon_that_is_to_be_started_yet_is_no_mistake_in_check_mode():
    plan = {"changes": [1], "rows": [], "problems": [], "withheld": []}
    answers = {"status": [status(state="not-running")], "plan": [(0, plan)]}
    result = end(apply_step.begin, answers, check_mode=True)[0]
    assert (result["changed"], result["plan"]) == (True, plan)
    result, asked = end(apply_step.begin, answers)
    assert "systemctl enable --now netuned" in result["msg"]
    assert asked == ["status"]
