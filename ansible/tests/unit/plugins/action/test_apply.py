# Copyright (c) The netuned authors
# MIT License (see https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import time

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.netuned.netuned.plugins.action import apply


class Task:
    def __init__(self, args, check_mode):
        self.args, self.check_mode = args, check_mode


class Connection:
    transport = "local"

    def __init__(self):
        self.resets = 0

    def reset(self):
        self.resets += 1


class Host(apply.ActionModule):
    """An action whose host answers each step from a list; what is an error is raised."""

    def __init__(self, answers, check_mode=False, **args):
        self._task, self._connection = Task(args, check_mode), Connection()
        self._vars, self.answers, self.steps = {}, answers, []

    def _execute_module(self, module_name, module_args, task_vars):
        step = module_args["step"]
        self.steps.append((step, self._connection.resets))
        answer = self.answers[step].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def run(self):
        return self._run()

    def _undone(self, *args):
        self.on_time_over()
        return super(Host, self)._undone(*args)

    def on_time_over(self):
        """What becomes of the host once its controller gives up."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(apply, "PAUSE_S", 0.01)
    monkeypatch.setattr(apply, "AFTER_S", 0.5)


GONE = AnsibleConnectionFailure("no route to host")
BEGUN = {"changed": True, "begun": True, "problems": []}
BACK = {"changed": True, "rolled_back": True}
TRIED = {"ended": True, "rc": 0, "answer": {"applied": [1], "confirm": {"id": "abc", "until": "x"}}}


def test_it_is_confirmed_over_a_connection_that_is_made_after_it_was_applied():
    host = Host({"begin": [BEGUN], "wait": [{"ended": False}, TRIED], "confirm": [{"changed": True}]})
    result = host.run()
    assert (result["changed"], result["confirmed"], result["trial"]["id"]) == (True, True, "abc")
    assert [step for step, resets in host.steps] == ["begin", "wait", "wait", "confirm"]
    assert len({resets for step, resets in host.steps}) == 4


def test_what_is_lost_on_the_way_is_asked_again():
    host = Host({
        "begin": [GONE],
        "wait": [GONE, {"module_stdout": "", "failed": True, "msg": "MODULE FAILURE"}, TRIED],
        "confirm": [GONE, {"changed": True}],
    })
    assert host.run()["confirmed"]


def test_nothing_to_do_asks_nothing_more():
    host = Host({"begin": [{"changed": False, "problems": []}]})
    assert host.run() == {"changed": False, "problems": []}


def test_a_check_that_fails_rolls_back():
    host = Host({"begin": [BEGUN], "wait": [TRIED], "rollback": [BACK]}, confirm="1s", checks=["exit 3"])
    result = host.run()
    assert result["failed"] and result["rolled_back"] and not result["confirmed"]
    assert "`exit 3`" in result["msg"]


def test_what_could_not_be_put_back_is_told():
    back = dict(BACK, warnings=["rx-1: refused"])
    host = Host({"begin": [BEGUN], "wait": [TRIED], "rollback": [back]}, confirm="1s", checks=["exit 3"])
    assert host.run()["warnings"] == ["rx-1: refused"]


def test_what_was_confirmed_unheard_is_no_failure():
    lost = [GONE] * 200
    host = Host({"begin": [BEGUN], "wait": [TRIED], "confirm": lost, "rollback": [{"changed": False, "confirmed": True}]},
                confirm="1s")
    result = host.run()
    assert result["confirmed"] and not result["failed"]


@pytest.mark.parametrize("back, confirmed, said", [
    ({"changed": False}, False, "It does not wait any more; how it ended cannot be told."),
    ({"changed": False, "confirmed": True}, True, "It is in force all the same, for it was confirmed."),
])
def test_what_is_not_known_to_be_rolled_back_is_not_said_to_be(back, confirmed, said):
    host = Host({"begin": [BEGUN], "wait": [TRIED], "rollback": [back]}, confirm="1s", checks=["exit 3"])
    result = host.run()
    assert (result["failed"], result["rolled_back"], result["confirmed"]) == (True, False, confirmed)
    assert result["msg"].endswith(said)


def test_a_trial_that_somebody_else_confirmed_is_no_failure_once_it_was_checked():
    late = {"failed": True, "msg": "abc does not wait to be confirmed"}
    host = Host({"begin": [BEGUN], "wait": [TRIED], "confirm": [late], "rollback": [{"changed": False, "confirmed": True}]})
    result = host.run()
    assert result["confirmed"] and not result["failed"]


def test_a_job_that_never_began_was_not_rolled_back():
    never = {"failed": True, "begun": False, "msg": "it was never begun on the host"}
    waits = [GONE] * 500
    host = Host({"begin": [GONE], "wait": waits}, confirm="1s")
    host.on_time_over = lambda: waits.insert(0, never)
    result = host.run()
    assert (result["failed"], result["rolled_back"], result["changed"]) == (True, False, False)
    assert result["msg"].endswith("Nothing is to be undone: it was never begun on the host")


def test_what_was_refused_was_not_rolled_back():
    refused = {"ended": True, "rc": 1, "said": "lan0 already waits to be confirmed"}
    host = Host({"begin": [BEGUN], "wait": [refused] * 2}, confirm="1s")
    result = host.run()
    assert result["failed"] and not result["rolled_back"]
    assert "lan0 already waits" in result["msg"] and "told of no trial" in result["msg"]


def test_a_trial_is_rolled_back_when_asked_for():
    assert Host({"rollback": [BACK]}, state="rolled_back", id="abc").run() == BACK
    unknown = Host({"rollback": [{"changed": False}]}, state="rolled_back", id="abc").run()
    assert not unknown["rolled_back"]
    assert unknown["warnings"] == ["abc does not wait any more; how it ended cannot be told"]
    kept = Host({"rollback": [{"changed": False, "confirmed": True}]}, state="rolled_back", id="abc").run()
    assert kept["failed"] and not kept["rolled_back"]


@pytest.mark.parametrize("args, step", [({}, "begin"), ({"id": "abc"}, "confirm"), ({"state": "rolled_back", "id": "abc"}, "rollback")])
def test_check_mode_asks_the_host_and_does_not_guess(args, step):
    for waits in (True, False):
        host = Host({step: [{"changed": waits}]}, check_mode=True, **args)
        assert host.run() == {"changed": waits}
    with pytest.raises(AnsibleConnectionFailure):
        Host({step: [GONE]}, check_mode=True, **args).run()


def test_what_never_began_fails():
    never = {"failed": True, "msg": "it was never begun on the host"}
    host = Host({"begin": [GONE], "wait": [never]})
    result = host.run()
    assert result["failed"] and not result["changed"]


def test_a_host_that_stays_away_is_said_to_be_left_to_its_clock():
    host = Host({"begin": [BEGUN], "wait": [GONE] * 500}, confirm="1s")
    before = time.monotonic()
    result = host.run()
    assert result["failed"] and not result["rolled_back"]
    assert "rolls back by itself" in result["msg"]
    assert time.monotonic() - before < 30


@pytest.mark.parametrize("text, seconds", [("60s", 60), ("2min", 120), ("1 h", 3600), ("3m", 180)])
def test_times(text, seconds):
    assert apply.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "2h", "0s", "soon", "-1s"])
def test_no_times(text):
    with pytest.raises(apply.WrongError):
        apply.seconds_of(text)


@pytest.mark.parametrize("args", [{"confirm": "soon"}, {"state": "rolled_back"}, {"state": "trial", "id": "x"}, {"wait": 3}])
def test_wrong_arguments(args):
    with pytest.raises(apply.WrongError):
        Host({}, **args).run()
