"""The collection on hosts in miniature: what it says, and what the kernel has."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from netuned.profiles.settings import Settings, load_settings
from netuned.profiles.trust import ANYONE
from tests.ansible.controller import ROOT, SOURCE, Controller
from tests.ansible.hosts import PLAIN, Host

pytestmark = pytest.mark.netns

Fleet = Callable[..., dict[str, Host]]

ROLE = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: netuned.netuned.netuned}
      vars:
        netuned_install: none
        netuned_service_manage: false
        netuned_settings: {confirm_timeout: "off"}
        netuned_profiles:
          - name: a file
            content: {name: edge, match: {kind: veth, name: lan0}, rps: {cpus: 0}}
"""
TRY = """\
- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - netuned.netuned.profile:
        name: edge
        content: "match: {kind: veth, name: lan0}\\nrps: {cpus: 0}  # as it is written\\n"
        activate: false
    - netuned.netuned.apply:
        confirm: WAIT
        checks: ["CHECK"]
        host_checks: [test -d /sys/class/net/lan0]
    - netuned.netuned.apply:  # nothing is to be done then
"""
BY_HAND = "'netunedctl status --json | grep -om1 \"[0-9a-f]*: lan0\" | cut -d: -f1 | xargs netunedctl confirm; false'"
MISTAKES = """\
- hosts: all
  gather_facts: false
  tasks:
    - netuned.netuned.profile:
        name: edge
        content: "match: {kind: veth, name: lan0}\\nrps: {cpu: 0}\\n"
      ignore_errors: true
    - netuned.netuned.profile:
        name: edge
        content: {match: {name: lan0}, coalesce: {adaptive-rx: off}}
      ignore_errors: true
    - netuned.netuned.apply: {confirm: soon}
      ignore_errors: true
"""
STATES = """\
- hosts: all
  gather_facts: false
  tasks:
    - netuned.netuned.profile: {name: edge, src: edge.yaml}
    - netuned.netuned.profile: {name: edge, src: edge.yaml}
    - netuned.netuned.profile: {name: edge, state: masked, backup: true}
      register: masked
      timeout: 300  # for one that waits for somebody to type
    - netuned.netuned.profile: {name: edge, state: masked}
    - netuned.netuned.profile: {name: edge, state: absent}
    - netuned.netuned.profile: {name: edge, state: absent}
    - netuned.netuned.snapshot: {dest: "hosts/"}
    - netuned.netuned.snapshot: {dest: "hosts/", force: false}
    - netuned.netuned.info: {gather: [status, plan, doctor], doctor_for: 1s}
      register: info
    - ansible.builtin.copy:
        content: "{{ {'info': info, 'backup': masked.backup_file} | to_json }}"
        dest: "{{ playbook_dir }}/told.json"
        mode: "0644"
      delegate_to: localhost
      vars: {ansible_connection: local}
"""
WHEEL = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: netuned.netuned.netuned}
      vars:
        netuned_install: wheel
        netuned_wheel: FILE
        netuned_wheel_packages: []
        netuned_wheel_pip_args: [--no-index, --no-deps]
        netuned_service_manage: false
"""
FRESH = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: netuned.netuned.netuned}
      vars:
        netuned_package_file: netuned.deb
        netuned_wheel: netuned.whl
        netuned_wheel_packages: []
        netuned_settings: {confirm_timeout: "off"}
        netuned_confirm: 60s
        netuned_profiles:
          - name: edge
            content: {match: {kind: veth, name: lan0}, rps: {cpus: 0}}
"""
EDGE = "match: {kind: veth, name: lan0}\nrps: {cpus: 0}\n"


def play(controller: Controller, text: str, *words: str, check: bool = True) -> str:
    (controller.place / "play.yml").write_text(text)
    return controller.run("ansible-playbook", "-i", "inventory", "play.yml", *words, check=check)


def changed(said: str) -> dict[str, int]:
    """How much the recap says was changed, by host."""
    return {name: int(n) for name, n in re.findall(r"^(\w+) .* changed=(\d+)", said, re.MULTILINE)}


def test_check_mode_shows_kernel_settings_and_a_second_run_changes_nothing(
    controller: Controller, fleet: Fleet
) -> None:
    host = fleet("one")["one"]
    for _ in range(2):
        said = play(controller, ROLE, "--check", "--diff")
        assert "-lan0 rps rx 0-1: none\n+lan0 rps rx 0-1: 0\n" in said
        assert "+  cpus: 0\n" in said
        assert changed(said) == {"one": 3}
        assert host.masks() == "0"
    # a directory, settings, of which the daemon is told, and the profile
    assert changed(play(controller, ROLE)) == {"one": 4}
    assert host.masks() == "1"  # in force when the task has ended
    assert changed(play(controller, ROLE)) == {"one": 0}


@pytest.mark.parametrize(
    ("controller", "install"), [("oldest", "package"), ("current", "wheel")], indirect=["controller"]
)
def test_check_mode_tells_of_a_host_that_has_no_netuned_yet(
    controller: Controller, fleet: Fleet, install: str
) -> None:
    host = fleet("one")["one"]
    environment = host.directory / "environment"
    environment.write_text(environment.read_text().replace(str(Path(sys.executable).parent), ""))
    for file in ("netuned.deb", "netuned.whl"):
        (controller.place / file).write_text("what is not looked into")
    said = play(controller, FRESH, "--check", "--diff", "-e", f"netuned_install={install}")
    assert "netuned is not installed yet, so nothing is planned" in said
    assert "+  cpus: 0\n" in said
    # a file that comes, a place and settings, the profile; and what a wheel needs
    assert changed(said)["one"] == {"package": 4, "wheel": 7}[install]
    assert not list(host.lab.profiles.iterdir())


def test_settings_are_a_drop_in_of_the_roles_own(controller: Controller, fleet: Fleet) -> None:
    etc = fleet("one")["one"].memory / "etc/netuned"
    text = ROLE.partition("        netuned_profiles:")[0]
    assert changed(play(controller, text)) == {"one": 3}
    written = (etc / "netuned.yaml.d/ansible.yaml").read_text()
    assert written.splitlines()[0] == "# Written by Ansible, role netuned.netuned.netuned."
    assert load_settings(str(etc / "netuned.yaml"), Settings(7), ANYONE) == Settings()
    without = text.replace('{confirm_timeout: "off"}', "{}")
    assert changed(play(controller, without)) == {"one": 2}
    assert changed(play(controller, without)) == {"one": 0}
    assert list((etc / "netuned.yaml.d").iterdir()) == []
    assert not (etc / "netuned.yaml").exists(), "that is the host's"


def test_what_is_applied_is_confirmed_over_a_new_connection(
    controller: Controller, fleet: Fleet
) -> None:
    made = fleet("one", "two")
    text = TRY.replace("WAIT", "60s").replace("CHECK", "true")
    said = play(controller, text, "--diff")
    assert changed(said) == {"one": 2, "two": 2}
    for host in made.values():
        assert (host.masks(), host.pending()) == ("1", "")
    free = text.replace("serial: 1", "strategy: free").replace("cpus: 0}", "cpus: none}")
    assert changed(play(controller, free)) == {"one": 2, "two": 2}
    assert [host.masks() for host in made.values()] == ["0", "0"]


def test_a_host_that_is_lost_rolls_back_and_the_next_is_left_alone(
    controller: Controller, fleet: Fleet
) -> None:
    made = fleet("one", "two")
    cut = made["one"].cut
    text = TRY.replace("WAIT", "40s").replace(
        "CHECK", f"touch {cut}; (sleep 40; rm {cut}) >{cut} 2>&1 &"
    )
    said = play(controller, text, check=False)
    assert "Connection timed out" in said
    assert "It was rolled back." in said
    assert [host.masks() for host in made.values()] == ["0", "0"]
    assert made["one"].pending() == ""
    assert [path.name for path in made["two"].lab.profiles.iterdir()] == []


@pytest.mark.parametrize("controller", ["current"], indirect=True)
def test_a_check_that_fails_rolls_back(controller: Controller, fleet: Fleet) -> None:
    host = fleet("one")["one"]
    text = TRY.replace("WAIT", "30s").replace("CHECK", "echo no such service; exit 7")
    said = play(controller, text, check=False)
    assert "did not succeed: no such service. It was rolled back." in said
    assert (host.masks(), host.pending()) == ("0", "")


@pytest.mark.parametrize("controller", ["current"], indirect=True)
def test_what_somebody_confirmed_is_not_said_to_be_rolled_back(
    controller: Controller, fleet: Fleet
) -> None:
    host = fleet("one")["one"]
    text = TRY.replace("WAIT", "20s").replace("CHECK", "true")
    text = text.replace("test -d /sys/class/net/lan0", BY_HAND)
    said = play(controller, text, check=False)
    assert re.search("how it ended cannot be told|It is in force all the same", said), said
    assert "rolled back." not in said
    assert (host.masks(), host.pending()) == ("1", "")


def test_mistakes_are_told_in_netuneds_own_words(controller: Controller, fleet: Fleet) -> None:
    host = fleet("one")["one"]
    said = play(controller, MISTAKES)
    assert "/etc/netuned/profiles.d/edge.yaml:2:7: rps.cpu: unknown key" in said
    assert "content: coalesce.adaptive-rx is false" in said
    assert "'soon' is not a time" in said
    assert list(host.lab.profiles.iterdir()) == []


def test_profiles_come_and_go_and_hosts_tell_of_themselves(
    controller: Controller, fleet: Fleet
) -> None:
    host = fleet(PLAIN)[PLAIN]
    files = controller.place / "files"
    files.mkdir()
    (files / "edge.yaml").write_text(EDGE)
    said = play(controller, STATES)
    assert changed(said) == {PLAIN: 5}  # present, masked, absent, a snapshot, the answers
    told = json.loads((controller.place / "told.json").read_text())
    backup = Path(told["backup"])
    assert (host.lab.profiles / backup.name).read_text() == EDGE
    assert [path.name for path in host.lab.profiles.iterdir()] == [backup.name]
    assert told["info"]["plan"]["changes"] == []
    assert {nic["name"] for nic in told["info"]["status"]["nics"]} >= {"lan0"}
    assert "findings" in told["info"]["doctor"]
    snapshot = controller.place / "hosts" / f"{PLAIN}.tar.xz"
    planned = host.lab.ctl("plan", str(files / "edge.yaml"), "--snapshot", str(snapshot), "--json")
    assert {change["ifname"] for change in json.loads(planned.stdout)["changes"]} == {"lan0"}


def test_the_repository_for_a_fleet_goes_through_its_own_ci(
    controller: Controller, fleet: Fleet
) -> None:
    made = fleet("edge1", "edge2", "storage1")
    example = controller.place / "gitops"
    shutil.copytree(SOURCE / "examples/gitops", example)
    lan = '{name: "lan*"}'  # for physical cards, as it stands there
    for profile in (example / "files").rglob("*.yaml"):
        cards = lan.replace("{", "{kind: veth, ")
        profile.write_text(profile.read_text().replace(lan, f"[{lan}, {cards}]"))
    templates = str(ROOT / "profiles")
    for host in made.values():
        shutil.copy(ROOT / "profiles/base.yaml", host.lab.profiles)
    here = f"-i {example}/inventory.yml -i {controller.place}/inventory -e ansible_become=false"
    less = "-e netuned_install=none -e netuned_service_manage=false"
    stages = yaml.safe_load((example / ".gitlab-ci.yml").read_text())

    def stage(name: str) -> str:
        lines = " && ".join(stages[name]["script"])
        lines = lines.replace("ansible-playbook", f"ansible-playbook {here} {less}")
        lines = lines.replace("/usr/lib/netuned/profiles.d", templates)
        lines = lines.replace("netunedctl", f"{ROOT}/.venv/bin/netunedctl")
        return controller.run("sh", "-ec", lines, cwd=example)

    assert stage("check").count(": good") == 2
    assert changed(stage("deploy")) == {"edge1": 1, "edge2": 1, "storage1": 1}  # the snapshots
    assert {host.lab.card("lan0")["profile"] for host in made.values()} == {"edge", "storage"}
    planned = stage("plan")
    assert re.findall("^. hosts?: .*", planned, re.MULTILINE) == [
        *("2 hosts: 2 nothing to do.", "1 host: 1 nothing to do.")
    ]
    assert changed(planned) == {"edge1": 0, "edge2": 0, "storage1": 0}


@pytest.mark.parametrize("controller", ["current"], indirect=True)
def test_the_role_installs_a_wheel_once(controller: Controller, fleet: Fleet) -> None:
    host = fleet("one")["one"]
    words = ("wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", ".")
    source = controller.place / "source"
    for part in ("netuned", "profiles", "units"):
        shutil.copytree(ROOT / part, source / part)
    for part in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / part, source)
    controller.run(sys.executable, "-m", "pip", *words, str(source))
    (wheel,) = controller.place.glob("netuned-*.whl")
    text = WHEEL.replace("FILE", str(wheel))
    play(controller, text)
    usr = host.memory / "usr"
    assert (usr / "lib/systemd/system/netuned.service").read_text() == (
        ROOT / "units/netuned.service"
    ).read_text()
    assert (usr / "lib/netuned/irqbalance/netuned").stat().st_mode & 0o777 == 0o755
    assert (usr / "lib/netuned/profiles.d/base.yaml").stat().st_mode & 0o777 == 0o644
    assert (usr / "bin/netunedctl").readlink() == Path("/usr/lib/netuned/venv/bin/netunedctl")
    assert "netuned" in (usr / "lib/netuned/venv/bin/netunedctl").read_text()
    said = play(controller, text)
    assert changed(said) == {"one": 0}, said
    # of the same version, but another's
    (installed,) = usr.glob("lib/netuned/venv/lib/python3*/site-packages/netuned/__main__.py")
    installed.write_text("another's")
    (usr / "lib/netuned/venv/installed.whl").write_text("another")
    play(controller, text)
    assert installed.read_text() == (ROOT / "netuned/__main__.py").read_text()
    (usr / "lib/netuned/venv/pyvenv.cfg").write_text("packaged = true\n")
    assert "a package brought netuned onto this host" in play(controller, text, check=False)
