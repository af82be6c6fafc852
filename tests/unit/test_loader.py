"""Loading profiles: search path, merging, trust, and errors that name line, column and key."""

from __future__ import annotations

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netuned.cpuset import CpuSet
from netuned.profiles import searchpath
from netuned.profiles.loader import Drop, ProfileSet, Remembered, check, load, load_dropped
from netuned.profiles.searchpath import PACKAGE, shipped_templates
from netuned.profiles.trust import MAX_BYTES
from netuned.profiles.yamlreading import parse_yaml

ME = os.getuid()
ROUNDS = settings(max_examples=100, deadline=None)


class Host:
    """A search path of two directories, ``etc`` over ``usr``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.remembered = Remembered()
        self.directories = [str(root / "etc"), str(root / "usr")]
        for directory in self.directories:
            Path(directory).mkdir(mode=0o755)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / (name if "/" in name else f"etc/{name}")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o644)
        return path

    def load(self, previous: ProfileSet | None = None, possible: str = "") -> ProfileSet:
        """What is remembered of earlier calls must make no difference."""
        cpus = CpuSet.parse_list(possible) if possible else None
        now = partial(load, self.directories, possible=cpus, previous=previous, owner=ME)
        found, anew = now(remembered=self.remembered), now()
        assert (found.profiles, found.messages) == (anew.profiles, anew.messages)
        return found

    def errors(self, possible: str = "", previous: ProfileSet | None = None) -> list[str]:
        """The errors as they are shown, with paths relative to the host."""
        found = self.load(previous, possible).errors
        return [str(error).replace(f"{self.root}/", "") for error in found]

    def names(self, previous: ProfileSet | None = None) -> dict[str, str]:
        """Profile name -> path."""
        return {
            loaded.profile.name: os.path.relpath(loaded.path, self.root)
            for loaded in self.load(previous).profiles
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


DESIGN_EXAMPLE = """\
name: edge                        # the file's stem if left out
description: Spread receive work over the card's own NUMA node, pace senders with fq
extends: [base]                   # merged in order; this file's keys win
priority: 50                      # of all profiles that match a card, the highest wins
match:                            # any entry matches; within an entry all keys must match
  - {driver: [ice, i40e, mlx5_core, igb], name: "en*"}
  - {driver: virtio_net, speed: ">=10G"}
cpus:                             # named CPU sets, for use below
  irq: "local & housekeeping & first-threads"
channels: {combined: auto}        # auto = one per CPU of the irq set
rss:
  queues: all                     # or "0-5"
  weights: equal                  # or a list
irq:
  cpus: irq                       # a CPU set: name or expression
  spread: one-per-queue           # | pack | all
rps: {cpus: auto}
xps: {cpus: auto}
qdisc: {kind: fq, flow_limit: 1000}
host:
  irqbalance: exclude             # | stop | leave
policy:
  disruptive: allow               # | deny
  enforce: yes                    # | no
"""


def test_the_example_of_the_design(host: Host) -> None:
    host.write("edge.yaml", DESIGN_EXAMPLE)
    host.write("usr/base.yaml", "irq: {spread: pack}\nhost: {irqbalance: stop}\n")
    found = host.load(possible="0-7")
    assert found.errors == ()
    base, edge = found.profiles
    profile = edge.profile
    assert (base.profile.name, profile.name, profile.extends) == ("base", "edge", ("base",))
    assert profile.cpus == {"irq": "local & housekeeping & first-threads"}
    assert profile.irq is not None
    assert profile.irq != "default"
    assert (profile.irq.cpus, profile.irq.spread) == ("irq", "one-per-queue")
    assert profile.qdisc is not None
    assert profile.qdisc != "default"
    assert profile.qdisc.parameters() == {"flow_limit": 1000}
    assert profile.host.irqbalance == "exclude"
    assert profile.policy.enforce == "yes"
    place = edge.origins["irq.spread"]
    assert (place.path, place.line, place.column) == (edge.path, 16, 11)
    assert edge.origins["match[1].speed"].line == 7
    assert edge.origins["rss"].line == 11


# --- the search path -----------------------------------------------------------------------


def test_a_file_replaces_the_one_of_the_same_name_below(host: Host) -> None:
    host.write("usr/a.yaml", "priority: 1")
    host.write("usr/b.yml", "priority: 2")
    assert host.names() == {"a": "usr/a.yaml", "b": "usr/b.yml"}
    host.write("etc/a.yaml", "priority: 3")
    assert host.names() == {"a": "etc/a.yaml", "b": "usr/b.yml"}
    assert [loaded.profile.priority for loaded in host.load().profiles] == [3, 2]


@pytest.mark.parametrize("text", ["", "\n", "# nothing left\n", "---\n"])
def test_an_empty_file_masks(host: Host, text: str) -> None:
    host.write("usr/a.yaml", "priority: 1")
    host.write("etc/a.yaml", text)
    assert host.names() == {}
    assert host.errors() == []


def test_a_link_to_dev_null_masks(host: Host) -> None:
    host.write("usr/a.yaml", "priority: 1")
    (host.root / "etc/a.yaml").symlink_to("/dev/null")
    assert host.names() == {}
    assert host.errors() == []


def test_a_link_to_a_profile_is_followed(host: Host) -> None:
    target = host.write("usr/a.txt", "priority: 1")
    (host.root / "etc/b.yaml").symlink_to(target)
    assert host.names() == {"b": "etc/b.yaml"}


def test_a_dangling_link_is_an_error(host: Host) -> None:
    (host.root / "etc/b.yaml").symlink_to("nowhere")
    assert host.errors() == ["etc/b.yaml: there is no such file"]


def test_other_files_are_left_alone(host: Host) -> None:
    for name in (".a.yaml", "a.yaml~", "a.yaml.dpkg-old", "README", "a.json"):
        host.write(name, "not: [a profile")
    (host.root / "etc/d.d").mkdir()
    assert host.load() == ProfileSet()


def test_missing_and_empty_directories_are_fine(host: Host) -> None:
    host.directories.append(str(host.root / "absent"))
    assert host.load() == ProfileSet()


def test_two_files_with_one_name(host: Host) -> None:
    host.write("a.yaml", "name: edge\npriority: 1")
    host.write("b.yaml", "priority: 2\nname: edge")
    assert host.errors() == [
        "etc/b.yaml:2:7: name: etc/a.yaml already has a profile with the name `edge`; "
        "give one of them another name"
    ]
    assert host.names() == {"edge": "etc/a.yaml"}


def test_a_new_file_does_not_take_the_name_of_one_in_force(host: Host) -> None:
    host.write("b.yaml", "name: edge")
    before = host.load()
    host.write("a.yaml", "name: edge")
    assert host.names(before) == {"edge": "etc/b.yaml"}
    assert host.errors(previous=before)[0].startswith("etc/a.yaml:1:7: name: etc/b.yaml already")


# --- extends -------------------------------------------------------------------------------


def test_extends_merges_in_order(host: Host) -> None:
    host.write("a.yaml", "priority: 1\ncpus: {x: '0', y: '1'}\nrss: {queues: 0-3}\nirq: {cpus: x}")
    host.write("b.yaml", "cpus: {y: '2'}\nirq: {spread: pack}\nmatch: [{driver: ice}, {name: a}]")
    host.write("c.yaml", "extends: [a, b]\nrss: keep\nmatch: {driver: igb}\ncpus: {z: '3'}")
    found = {loaded.profile.name: loaded for loaded in host.load().profiles}
    profile = found["c"].profile
    assert profile.cpus == {"x": "0", "y": "2", "z": "3"}
    assert profile.priority == 1
    assert profile.rss is None
    assert profile.irq is not None
    assert profile.irq != "default"
    assert (profile.irq.cpus, profile.irq.spread) == ("x", "pack")
    assert [entry.driver for entry in profile.match] == [("igb",)]
    assert found["c"].origins["cpus.y"].path == str(host.root / "etc/b.yaml")
    assert found["c"].origins["match[0].driver"].path == str(host.root / "etc/c.yaml")
    assert found["c"].origins["irq.cpus"].path == str(host.root / "etc/a.yaml")


def test_name_and_description_are_not_inherited(host: Host) -> None:
    host.write("a.yaml", "name: first\ndescription: of a\npriority: 7")
    host.write("b.yaml", "extends: first")
    (b, _) = host.load().profiles
    assert (b.profile.name, b.profile.description, b.profile.priority) == ("b", "", 7)


def test_another_kind_of_qdisc_replaces_the_whole(host: Host) -> None:
    host.write("a.yaml", "qdisc: {kind: fq, flow_limit: 10}")
    host.write("b.yaml", "extends: a\nqdisc: {kind: fq_codel}")
    host.write("c.yaml", "extends: a\nqdisc: {limit: 20}")
    found = [loaded.profile.qdisc for loaded in host.load().profiles]
    assert [q.parameters() for q in found if q and q != "default"] == [
        {"flow_limit": 10},
        {},
        {"limit": 20, "flow_limit": 10},
    ]


def test_extends_through_several_files_and_a_diamond(host: Host) -> None:
    host.write("a.yaml", "priority: 1")
    host.write("b.yaml", "extends: [a]\nrps: {cpus: none}")
    host.write("c.yaml", "extends: [a]\npriority: 3")
    host.write("d.yaml", "extends: [b, c]")
    d = host.load().profiles[3].profile
    assert (d.priority, d.rps is not None) == (3, True)


def test_errors_in_extends(host: Host) -> None:
    host.write("base.yaml", "priority: 1")
    host.write("a.yaml", "extends:\n  - base\n  - bass")
    host.write("b.yaml", "extends: zzz")
    host.write("c.yaml", "extends: [d]")
    host.write("d.yaml", "extends: [base, c]")
    host.write("e.yaml", "extends: e")
    assert host.errors() == [
        "etc/a.yaml:3:5: extends[1]: there is no profile `bass`; did you mean `base`?",
        "etc/b.yaml:1:10: extends: there is no profile `zzz`",
        "etc/c.yaml:1:11: extends[0]: `d` has an error, see etc/d.yaml",
        "etc/d.yaml:1:17: extends[1]: `c` extends itself: c -> d -> c",
        "etc/e.yaml:1:10: extends: `e` extends itself: e -> e",
    ]
    assert list(host.names()) == ["base"]


@pytest.mark.parametrize("upwards", [True, False])
def test_a_chain_of_extends_is_bounded_by_its_length_alone(host: Host, *, upwards: bool) -> None:
    """Whatever the files are called, and thus in which order they are read."""

    def name(number: int) -> str:
        return f"p{number if upwards else 999 - number:03}"

    host.write(f"{name(1)}.yaml", "priority: 1")
    for number in range(2, 1100 if upwards else 41):
        host.write(f"{name(number)}.yaml", f"extends: {name(number - 1)}")
    assert sorted(host.names()) == sorted(map(name, range(1, 33)))
    errors = {error.split(":")[0]: error for error in host.errors()}
    assert errors[f"etc/{name(33)}.yaml"] == (
        f"etc/{name(33)}.yaml:1:10: extends: more than 32 profiles build on each other here: "
        f"`{name(32)}` is the last that may be extended"
    )
    assert errors[f"etc/{name(34)}.yaml"] == (
        f"etc/{name(34)}.yaml:1:10: extends: `{name(33)}` has an error, see etc/{name(33)}.yaml"
    )


def test_a_circle_of_many_profiles_is_told_in_short(host: Host) -> None:
    for number in range(100):
        host.write(f"p{number}.yaml", f"extends: p{(number + 1) % 100}")
    assert host.names() == {}
    (error,) = (error for error in host.errors() if "extends itself" in error)
    circle = "p0 -> p1 -> p2 -> … -> p98 -> p99 -> p0"
    assert error == f"etc/p99.yaml:1:10: extends: `p0` extends itself: {circle}"


def test_an_error_in_an_extended_file_is_reported_once(host: Host) -> None:
    host.write("base.yaml", "irq:\n  spread: everywhere")
    host.write("a.yaml", "extends: base\npriority: x")
    assert host.errors() == [
        "etc/a.yaml:1:10: extends: `base` has an error, see etc/base.yaml",
        "etc/a.yaml:2:11: priority: `x` is not allowed here; write a whole number from 0 to 1000",
        "etc/base.yaml:2:11: irq.spread: `everywhere` is not allowed here; allowed: "
        "one-per-queue, pack, dedicated or all",
    ]


def test_an_error_of_the_merged_profile_names_the_file_that_brought_the_key(host: Host) -> None:
    host.write("base.yaml", "priority: 1\nrss: {weights: [1, 2]}")
    host.write("a.yaml", "extends: base\nrss: {queues: 0-2}")
    host.write("b.yaml", "extends: base\ncpus: {irq: local}")
    assert host.errors() == [
        "etc/base.yaml:2:7: rss.weights: 2 weights do not fit 3 queues; write one weight for each "
        "queue (where etc/a.yaml extends it)"
    ]
    assert list(host.names()) == ["b", "base"]


# --- the last good version -----------------------------------------------------------------


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("etc/a", "usr/a", "etc/b", "etc/c", "usr/d")),
        st.sampled_from(
            (
                "match: {name: 'x*'}\n",
                "irq: {cpus: 0-3}\n",
                "irq: {cpus: @set}\ncpus: {set: 0-70}\n",
                "extends: a\n",
                "extends: [b, c]\nrps: {cpus: 0-9}\n",
                "extends: d\nname: a\n",
                "name: b\nxps: default\n",
                "irq: [\n",
                "nonsense: 1\n",
                "",
            )
        ),
        st.sampled_from(("", "0-7", "0-127")),
    ),
    min_size=2,
    max_size=12,
)


@given(STEPS)
@ROUNDS
def test_what_is_remembered_of_files_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    host, before = Host(tmp_path_factory.mktemp("host")), None
    for name, text, possible in steps:
        host.write(f"{name}.yaml", text)
        before = host.load(before, possible)


def test_files_that_are_the_same_are_not_made_anew(host: Host) -> None:
    host.write("base.yaml", "irq: {cpus: 0-3}\n")
    host.write("edge.yaml", "extends: base\nmatch: {name: 'x*'}\n")
    host.write("other.yaml", "match: {name: 'y*'}\n")
    first = {loaded.profile.name: loaded for loaded in host.load().profiles}
    host.write("base.yaml", "irq: {cpus: 0-5}\n")
    again = {loaded.profile.name: loaded for loaded in host.load().profiles}
    assert again["other"] is first["other"]
    assert again["edge"] != first["edge"]
    (host.root / "etc/other.yaml").unlink()
    host.load()
    assert {os.path.basename(path) for path in host.remembered.parsed} == {"base.yaml", "edge.yaml"}


def test_a_file_that_becomes_bad_keeps_its_last_good_version(host: Host) -> None:
    host.write("a.yaml", "priority: 1")
    host.write("base.yaml", "irq: {spread: pack}")
    host.write("b.yaml", "extends: base\npriority: 2")
    good = host.load()
    host.write("a.yaml", "priority: [")
    host.write("base.yaml", "irq: {spread: wrong}")
    host.write("b.yaml", "extends: base\npriority: 3")
    bad = host.load(good)
    assert bad.profiles == good.profiles
    assert len(bad.errors) == 3
    again = host.load(bad)
    assert again == bad
    host.write("base.yaml", "irq: {spread: all}")
    mended = host.load(again)
    assert [loaded.profile.priority for loaded in mended.profiles] == [1, 3, 50]


def test_a_bad_file_above_a_good_one_leaves_the_good_one_in_force(host: Host) -> None:
    host.write("usr/a.yaml", "priority: 1")
    good = host.load()
    host.write("etc/a.yaml", "priority: x")
    assert host.load(good).profiles == good.profiles


def test_a_file_that_vanishes_is_gone(host: Host) -> None:
    path = host.write("a.yaml", "priority: 1")
    good = host.load()
    path.unlink()
    assert host.load(good) == ProfileSet()


# --- trust ---------------------------------------------------------------------------------


def test_a_file_writable_by_others_is_refused(host: Host) -> None:
    path = host.write("a.yaml", "priority: 1")
    good = host.load()
    path.chmod(0o666)
    assert host.errors() == [
        "etc/a.yaml: is writable by its group and everyone, so it is not used: a profile must be "
        "root's alone to write; mend it with: chown root:root etc/a.yaml && chmod go-w etc/a.yaml"
    ]
    assert host.names() == {}
    assert host.load(good).profiles == good.profiles


def test_a_directory_writable_by_others_is_refused(host: Host) -> None:
    host.write("usr/a.yaml", "priority: 1")
    good = host.load()
    (host.root / "usr").chmod(0o775)
    assert host.errors()[0].startswith("usr: is writable by its group, so it is not used")
    assert host.names() == {}
    assert host.load(good).profiles == good.profiles


def test_a_directory_that_others_can_put_another_for_is_refused(tmp_path: Path) -> None:
    """Whoever can write above it can; through a link, also whoever can write where that is."""
    below = tmp_path / "open" / "shut" / "profiles.d"
    below.mkdir(parents=True)
    (below / "a.yaml").write_text("priority: 1")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "profiles.d"
    link.symlink_to(below)
    for path in (below, link):
        for loose in (tmp_path / "open", tmp_path / "links"):
            loose.chmod(0o775)
            found = load((str(path),), owner=ME)
            faulty = [str(error) for error in found.errors]
            if path is below and loose.name == "links":
                assert not faulty
            else:
                assert faulty[0].startswith(f"{loose}: is writable by its group, so it is not used")
                assert not found.profiles
            loose.chmod(0o1777)  # as /tmp: only its owner can move what is in it
            assert bool(load((str(path),), owner=ME).errors) == (
                path is link and loose.name == "links"
            )
            loose.chmod(0o755)
        assert [p.profile.name for p in load((str(path),), owner=ME).profiles] == ["a"]


def chain(root: Path, target: Path) -> Path:
    """A path to ``target`` over a link beside others, up again, and a link to a link."""
    for name in ("first/deep", "second", "third", "fourth"):
        (root / name).mkdir(parents=True)
    (root / "first/deep/link").symlink_to("../../second/link")  # relative, and a link again
    (root / "second/link").symlink_to(root / "third")
    (root / "third/up").symlink_to("../fourth")
    (root / "fourth/last").symlink_to(target)
    return root / "first/deep/link/up/last"


ON_THE_WAY = ("first", "first/deep", "second", "third", "fourth", "to")


def test_every_link_on_the_way_to_a_directory_is_judged(tmp_path: Path) -> None:
    below = tmp_path / "to/profiles.d"
    below.mkdir(parents=True)
    (below / "a.yaml").write_text("priority: 1")
    path = chain(tmp_path, below)
    assert load((str(path),), owner=ME).errors == ()
    for name in ON_THE_WAY:
        loose = tmp_path / name
        loose.chmod(0o757)
        (error,) = load((str(path),), owner=ME).errors
        assert str(error).startswith(f"{loose}: is writable by everyone, so it is not used")
        loose.chmod(0o755)
    (tmp_path / "third").chmod(0o1777)  # who can write there could have made the link
    assert len(load((str(path),), owner=ME).errors) == 1


def test_every_link_on_the_way_to_a_file_is_judged(host: Host, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    target = tmp_path / "to/a.yaml"
    target.write_text("priority: 1")
    (tmp_path / "etc/a.yaml").symlink_to(chain(tmp_path, target))
    (tmp_path / "etc/mask.yaml").symlink_to("/dev/null")
    host.write("usr/mask.yaml", "priority: 2")
    assert host.errors() == []
    assert list(host.names()) == ["a"]
    for name in ON_THE_WAY:
        (tmp_path / name).chmod(0o757)
        (error,) = host.errors()
        assert error.startswith(f"{name}: is writable by everyone, so it is not used")
        assert host.names() == {}
        (tmp_path / name).chmod(0o755)
    (tmp_path / "to").chmod(0o1777)
    assert len(host.errors()) == 1


def test_what_is_missing_is_missing_wherever_the_way_leads(host: Host, tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose").chmod(0o777)
    (tmp_path / "dangling").symlink_to(tmp_path / "loose/absent")
    for missing in ("", "/absent", f"{tmp_path}/loose/a/b", f"{tmp_path}/dangling/b"):
        assert load((missing,), owner=ME) == ProfileSet()
    (tmp_path / "etc/a.yaml").symlink_to("../dangling")
    assert host.errors() == ["etc/a.yaml: there is no such file"]


@pytest.mark.parametrize(("links", "followed"), [(40, True), (41, False)])
def test_as_many_links_are_followed_as_the_kernel_follows(
    tmp_path: Path, links: int, followed: bool
) -> None:
    (tmp_path / "0").mkdir()
    for number in range(links):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    path = str(tmp_path / str(links))
    assert os.path.exists(path) == followed
    errors = [str(error) for error in load((path,), owner=ME).errors]
    assert errors == ([] if followed else [f"{path}: cannot be read: {os.strerror(errno.ELOOP)}"])


def test_a_relative_search_path(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("a.yaml", "priority: 1")
    monkeypatch.chdir(host.root / "usr")
    assert [p.profile.name for p in load(("../etc",), owner=ME).profiles] == ["a"]
    (host.root / "usr").chmod(0o775)
    (error,) = load(("../etc",), owner=ME).errors
    assert error.path == str(host.root / "usr")


@pytest.mark.skipif(ME != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(host: Host) -> None:
    path = host.write("a b.yaml", "name: a")
    os.chown(path, 12345, 0)
    (error,) = host.errors()
    assert error.startswith("etc/a b.yaml: is owned by uid 12345, so it is not used")
    assert error.endswith("etc/a b.yaml'")


def test_what_is_no_file_is_refused_and_never_blocks(host: Host) -> None:
    os.mkfifo(host.root / "etc/fifo.yaml", 0o600)
    (host.root / "etc/dir.yaml").mkdir()
    (host.root / "etc/zero.yaml").symlink_to("/dev/zero")
    assert host.errors() == [
        "etc/dir.yaml: is not a regular file",
        "etc/fifo.yaml: is not a regular file",
        "etc/zero.yaml: is not a regular file",
    ]


def test_a_search_path_that_is_a_file(host: Host) -> None:
    host.directories = [str(host.write("x", ""))]
    assert host.errors() == ["etc/x: cannot be read: Not a directory"]


# --- errors --------------------------------------------------------------------------------

MANY = """\
prioritty: 3
match:
  - {drivr: igb}
  - speed: fast
    pci: 8086
cpus:
  local: 0-3
  x: local & (isolated
  a: b | houskeeping
  c: "0-3 & 4-1x"
  d: e
  e: c | d
channels: {combined: true, rx: -1}
rss: {queues: "0-3", weights: [1, 2]}
irq: {cpus: 0-3,8, spread: one}
rps: auto
xps:
qdisc: {kind: fqq, limit: 1}
host: {irqbalance: off}
policy: {enforce: true}
"""

MANY_ERRORS = """\
etc/x.yaml:1:1: prioritty: unknown key; did you mean `priority`?
etc/x.yaml:3:6: match[0].drivr: unknown key; did you mean `driver`?
etc/x.yaml:4:12: match[1].speed: `fast` is not a speed; write one like >=10G, <25G, 2.5G or 1000M
etc/x.yaml:5:10: match[1].pci: `8086` is not a PCI vendor:device pair; write it as `lspci -n` \
does, like 8086:1521 or 15b3:*
etc/x.yaml:7:3: cpus.local: `local` means something by itself; choose another name for this set
etc/x.yaml:8:14: cpus.x: this parenthesis is never closed
etc/x.yaml:9:6: cpus.a: `b` is no CPU set; define it under cpus, or use all, efficiency, \
first-threads, housekeeping, isolated, local, nohz-full, online, performance
etc/x.yaml:9:10: cpus.a: `houskeeping` is no CPU set; did you mean `housekeeping`?
etc/x.yaml:10:13: cpus.c: `4-1x` is neither a CPU list like 0-3,8 nor a name
etc/x.yaml:12:10: cpus.e: `d` is defined by itself: d -> e -> d
etc/x.yaml:13:22: channels.combined: `true` is a YAML boolean; write a whole number from 0 to \
65536, auto, max or keep
etc/x.yaml:13:32: channels.rx: `-1` is not allowed here; write a whole number from 0 to 65536, \
auto, max or keep
etc/x.yaml:14:22: rss.weights: 2 weights do not fit 4 queues; write one weight for each queue
etc/x.yaml:15:17: irq.8: this is not a key; a CPU list with commas needs quotes inside { }
etc/x.yaml:15:28: irq.spread: `one` is not allowed here; allowed: one-per-queue, pack, dedicated \
or all
etc/x.yaml:16:6: rps: `auto` is not allowed here; write a mapping like {cpus: auto}, keep or default
etc/x.yaml:17:5: xps: no value is given; write a mapping like {cpus: auto}, keep or default
etc/x.yaml:18:15: qdisc.kind: `fqq` is not allowed here; did you mean `fq`? Allowed: fq, fq_codel, \
cake, pfifo_fast, noqueue, pfifo or bfifo
etc/x.yaml:19:20: host.irqbalance: `off` is not allowed here; allowed: exclude, stop, leave or keep
etc/x.yaml:20:19: policy.enforce: `true` is a YAML boolean, here a word is meant: write yes or no
"""


def test_all_errors_of_a_file_together_in_order(host: Host) -> None:
    host.write("x.yaml", MANY)
    assert host.errors() == MANY_ERRORS.splitlines()


ALIAS = "which profiles do not have; put a pattern in quotes"


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("a: 1\nb: 2\na: 3", ["3:1: a: this key is already on line 1",
                              "1:1: a: unknown key; allowed here: name, description, extends, "
                              "priority, match, cpus, channels, rings, coalesce, offloads, link, "
                              "rss, flows, napi, irq, rps, rfs, xps, bql, qdisc, host, policy or "
                              "version",
                              "2:1: b: unknown key; allowed here: name, description, extends, "
                              "priority, match, cpus, channels, rings, coalesce, offloads, link, "
                              "rss, flows, napi, irq, rps, rfs, xps, bql, qdisc, host, policy or "
                              "version"]),
        ("irq: {spread: pack, spread: all}", ["1:21: irq.spread: this key is already on line 1"]),
        ("- a", ["1:1: a profile is a mapping of keys, like `match:` and `irq:`"]),
        ("edge", ["1:1: a profile is a mapping of keys, like `match:` and `irq:`"]),
        ("priority: 1\n---\npriority: 2",
         ["2:1: a file holds one profile; put this in another"]),
        ("match:\n  name: *", ["2:9: not valid YAML: a value cannot begin with `*`; "
                               "put it in quotes"]),
        ("match: {name: *en}", [f'1:15: match.name: `*en` is a YAML alias, {ALIAS}: "*…"']),
        ("match: {name: !en*}", ["1:15: not valid YAML: a value cannot begin with `!`; "
                                 "put it in quotes"]),
        ("match:\n- name: !en1", [f'2:9: match[0].name: `!en1` is a YAML tag, {ALIAS}: "!…"']),
        ("cpus: &x {a: 0}", ["1:7: cpus: `&x` is a YAML anchor, which profiles do not have; "
                             "use extends, or quotes"]),
        ("irq:\n  <<: {spread: all}", ["2:3: irq.<<: `<<` is not known in profiles; use extends"]),
        ("irq:\n  cpus: @irq", ["2:9: not valid YAML: a value cannot begin with `@`; "
                                "put it in quotes"]),
        ("irq:\n\tspread: all", ["2:1: not valid YAML: a tab cannot indent; use spaces"]),
        ("name: a: b", ["1:8: not valid YAML: a `:` is not allowed here; is the indentation "
                        "right, or does the value need quotes?"]),
        ("rss: {queues: all\nirq: {}", ["2:4: not valid YAML: did not find expected ',' or '}' "
                                        "while parsing a flow mapping that begins on line 1"]),
        ("[a]: b", ["1:1: a key is a plain word; is a `:` missing, or one too many?"]),
        ("description: \x07", ["1:14: the control character '\\x07' is not allowed"]),
        (b"name: a\ndescription: \xff", ["2:14: the file is not UTF-8 text"]),
        (b"\xff\xfen\x00", ["1:1: the file is not UTF-8 text"]),
        ("x: " + "[" * 50, ["1:36: x" + "[0]" * 32 + ": nested more than 32 deep"]),
        ("x: " + "[" * 50_000, ["1:36: x" + "[0]" * 32 + ": nested more than 32 deep"]),
        ("#" * MAX_BYTES + "\n", [f"the file is larger than {MAX_BYTES} bytes"]),
    ],
)  # fmt: skip
def test_what_yaml_gets_wrong(host: Host, text: str | bytes, errors: list[str]) -> None:
    host.write("x.yaml", text)
    found = [error.removeprefix("etc/x.yaml:").strip() for error in host.errors()]
    assert sorted(found) == sorted(errors)
    assert host.names() == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cpus: {a: 0-9}", "1:11: cpus.a: CPUs 8-9 cannot exist; this host has CPUs 0-7"),
        ("irq:\n  cpus: local | 8", "2:17: irq.cpus: CPU 8 cannot exist; this host has CPUs 0-7"),
        ("rps: {cpus: 'core:9'}", "1:14: rps.cpus: CPU 9 cannot exist; this host has CPUs 0-7"),
        ("xps: {cpus: 99}", "1:13: xps.cpus: CPU 99 cannot exist; this host has CPUs 0-7"),
    ],
)
def test_cpus_that_the_host_cannot_have(host: Host, text: str, error: str) -> None:
    host.write("x.yaml", text)
    assert host.errors(possible="0-7") == [f"etc/x.yaml:{error}"]
    assert host.errors() == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('irq: {cpus: "local & nope"}', "1:22: irq.cpus"),
        ("irq: {cpus: 'local & nope'}", "1:22: irq.cpus"),
        ("irq: {cpus: local & nope}", "1:21: irq.cpus"),
        ('description: "ä"\nirq: {cpus: "local & nope"} # ö', "2:22: irq.cpus"),
        ("cpus: {ä: local}\nirq: {cpus: 'ü'}", "1:8: cpus.ä"),
    ],
)
def test_expression_errors_point_into_the_value(host: Host, text: str, error: str) -> None:
    host.write("x.yaml", text)
    assert host.errors()[0].startswith(f"etc/x.yaml:{error}: ")


def test_expression_errors_in_a_folded_value_count_characters(host: Host) -> None:
    host.write("x.yaml", "irq:\n  cpus: >-\n    local &\n    nope\n")
    (error,) = host.errors()
    assert error.startswith("etc/x.yaml:2:9: irq.cpus: `nope` is no CPU set")
    assert error.endswith("(at character 9 of the value)")


def test_a_file_name_that_is_no_profile_name(host: Host) -> None:
    host.write("my profile.yaml", "priority: 1")
    assert host.errors() == [
        "etc/my profile.yaml:1:1: name: `my profile` is not a profile's name; it begins with a "
        "letter or digit and has up to 64 letters, digits, `-`, `_` and `.`"
    ]


def test_control_characters_never_reach_a_message(host: Host) -> None:
    host.write("x.yaml", 'irq: {spread: "a\\e[31m\\u202e", "k\\x07": 1}')
    assert len(host.errors()) == 2
    for error in host.errors():
        assert error.isprintable()


def test_yaml_1_2_scalars(host: Host) -> None:
    host.write("x.yaml", "cpus: {a: 010, b: 16}\nmatch: {pci: 8086:1521, mac: 10:20:30:40:50:6}")
    (loaded,) = host.load().profiles
    assert loaded.profile.cpus == {"a": "010", "b": "16"}
    assert loaded.profile.match[0].pci == ("8086:1521",)
    assert loaded.profile.match[0].mac == ("10:20:30:40:50:6",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("match: {name: 0x1f}", 'match[0].name: YAML reads `0x1f` as the number 31; "0x1f"'),
        ("match: {name: 2920.3900}", 'match[0].name: YAML reads `2920.3900` as the number 2920.39; '
         '"2920.3900"'),
        ("match: {driver: [igb, 1.10]}", 'match[0].driver: YAML reads `1.10` as the number 1.1; '
         '"1.10"'),
        ("match: {kind: 0x1}", 'match[0].kind: YAML reads `0x1` as the number 1; "0x1"'),
        ("match: {name: +5}", 'match[0].name: YAML reads `+5` as the number 5; "+5"'),
        ("name: 1.10", 'name: YAML reads `1.10` as the number 1.1; "1.10"'),
        ("name: 0x10", 'name: YAML reads `0x10` as the number 16; "0x10"'),
        ("extends: 0x10", 'extends: YAML reads `0x10` as the number 16; "0x10"'),
    ],
)  # fmt: skip
def test_a_number_where_a_name_is_meant(host: Host, text: str, message: str) -> None:
    host.write("x.yaml", text)
    first, quoted = message.split("; ")
    (error, *_) = host.errors()
    assert error.split(": ", 1)[1] == f"{first}; to mean the text, put it in quotes: {quoted}"
    assert host.load().profiles == ()


def test_digits_can_be_a_name(host: Host) -> None:
    host.write("x.yaml", "match: {name: [31, '0x1f']}\ndescription: 1.10")
    (loaded,) = host.load().profiles
    assert loaded.profile.match[0].name == ("31", "0x1f")
    assert loaded.profile.description == "1.10"


@pytest.mark.parametrize("key", ["irq", "rps", "xps"])
@pytest.mark.parametrize(
    ("mask", "cpus"),
    [
        ("ff", "0-7"),
        ("FF", "0-7"),
        ("f0", "4-7"),
        ("3f", "0-5"),
        ("'0x0f'", "0-3"),
        ("0x0f & local", "0-3"),
        ("local & f0", "4-7"),
        ("'00000003'", "0-1"),
        ("'00000000,00000003'", "0-1"),
        ("'ffffffff,00000000'", "32-63"),
        ("'ff,ff000000'", "24-39"),
        ("'0x1,0x0'", "32"),
    ],
)
def test_a_mask_where_cpus_are_meant(host: Host, key: str, mask: str, cpus: str) -> None:
    host.write("x.yaml", f"{key}: {{cpus: {mask}}}")
    (error,) = host.errors()
    assert error.endswith(f"` is a mask, and CPU lists are meant here: write {cpus}")


def test_a_number_that_was_meant_as_a_mask(host: Host) -> None:
    host.write("x.yaml", "rps: {cpus: 0x0f}")
    assert host.errors() == [
        "etc/x.yaml:1:13: rps.cpus: YAML reads `0x0f` as the number 15; "
        "`0x0f` is a mask, and CPU lists are meant here: write 0-3"
    ]
    host.write("x.yaml", "cpus: {ff: 0-1}\nrps: {cpus: ff}\nchannels: {combined: 0x4}")
    assert host.errors() == []


TEMPLATE = "this is part of a template that was not filled in (Jinja's {{ }} and {% %}, …)"
SPACE = "there is a space in this that YAML takes for a letter (U+00A0); write a plain space"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("match: {name: eth0}\n{% if x %}\n", f"2:2: not valid YAML: {TEMPLATE}"),
        ("match:\n  name: {{ nic }}", f"2:10: match.name: {TEMPLATE}"),
        ("rps: {cpus: ${CPUS}}", f"1:14: not valid YAML: {TEMPLATE}"),
        ("match:\n\xa0\xa0name: eth0", f"2:1: {SPACE}"),
        ("match:\xa0{name: eth0}", f"1:1: {SPACE}"),
        ("rps:\n  cpus:\xa0auto", f"2:3: rps: {SPACE}"),
        ("rps: {cpus: auto}\xa0", f"1:18: not valid YAML: {SPACE}"),
        ("match: {kind: ether}", "1:15: match[0].kind: `ether` is not a kind of link; write phys"),
        ("match: {kind: ethernet}", "1:15: match[0].kind: `ethernet` is not a kind of link; wri"),
        ("match: {pci: 0x1af4}", "1:14: match[0].pci: `0x1af4` is not a PCI vendor:device pair; "
         "write it as `lspci -n` does, like 1af4:*"),
        ("qdisc: {kind: sfq}", "1:15: qdisc.kind: netuned does not set sfq; write one of fq, "),
        ("irq: {cpus: 0–3}", "1:14: irq.cpus: write `-` in place of `–`"),
        ("irq: {cpus: “0-3”}", "1:13: irq.cpus: `“` is no quote in YAML"),
    ],
)  # fmt: skip
def test_no_mistake_is_taken_for_another(host: Host, text: str, message: str) -> None:
    host.write("x.yaml", text)
    (error,) = host.errors()
    assert error.startswith(f"etc/x.yaml:{message}")


def test_a_description_can_have_any_space(host: Host) -> None:
    host.write("x.yaml", "# a\xa0b\ndescription: c\xa0d")
    assert host.errors() == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("combined: 4", "this belongs under channels"),
        ("rx-usecs: 5", "this belongs under coalesce"),
        ("rx_usecs: 5", "this belongs under coalesce"),
        ("rx: 5", "this belongs under channels or rings"),
        ("kind: fq", "this belongs under match or qdisc"),
        ("flow_limit: 5", "this belongs under qdisc"),
        ("irq: {queues: 0-1}", "this belongs under rss or napi"),
        ("channels: {rx-usecs: 5}", "this belongs under coalesce"),
        ("qdisc: {kind: fq, target: 5ms}", "this is a parameter of fq_codel"),
        ("match: {irq: {}}", "this is a key of the profile itself"),
        ("confirm_timeout: 60s", "this is a setting of the daemon, in /etc/netuned/netuned.yaml"),
        ("ring: {rx: 1}", "this is set under rings"),
        ("smp_affinity: f", "this is set under irq: {cpus: …}"),
        ("match: {interface: eth0}", "this is set under match: {name: …}"),
        ("mtu: 9000", "netuned does not set this; ip link, systemd.link(5) and netplan do"),
        ("autoneg: on", "netuned does not set this; ethtool and systemd.link(5) do"),
        ("gro: on", "this is set under offloads"),
        ("rx-gro-hw: on", "this is set under offloads"),
        ("txqueuelen: 2000", "this belongs under link"),
        ("limit_max: 100K", "this is set under bql"),
        ("link: {gso_max_size: 192K}", "did you mean `gso-max-size`?"),
        ("coalesce: {rx_usecs: 5}", "did you mean `rx-usecs`?"),
    ],
)
def test_a_foreign_key_is_told_where_it_belongs(host: Host, text: str, place: str) -> None:
    host.write("x.yaml", text)
    assert [error.partition(": unknown key; ")[2] for error in host.errors()] == [place]


# --- as if dropped -------------------------------------------------------------------------


def drop(host: Host, **texts: str) -> Drop:
    """Load with files in the working directory, by their names, as if they were dropped."""
    dropped = {f"./{name}.yaml": text.encode() for name, text in texts.items()}
    return load_dropped(dropped, host.directories, owner=ME, templates=str(SHIPPED))


def outcome(found: Drop, host: Host) -> tuple[dict[str, int], list[str]]:
    """Profile name -> priority, and what is refused."""
    priorities = {one.profile.name: one.profile.priority for one in found.profiles.profiles}
    shipped = {path.stem for path in SHIPPED.glob("*.yaml")}
    refused = [str(error).replace(f"{host.root}/", "") for error in found.refused]
    return {name: priorities[name] for name in priorities.keys() - shipped}, refused


@pytest.mark.parametrize("below", ["etc", "usr"])
def test_a_dropped_file_replaces_the_one_of_its_name(host: Host, below: str) -> None:
    host.write(f"{below}/edge.yaml", "priority: 1")
    host.write("usr/web.yaml", "priority: 2")
    found = drop(host, edge="priority: 3")
    assert outcome(found, host) == ({"edge": 3, "web": 2}, [])
    (edge,) = (one for one in found.profiles.profiles if one.profile.name == "edge")
    assert edge.path == edge.origins["priority"].path == "./edge.yaml"
    assert outcome(drop(host, edge="# nothing"), host) == ({"web": 2}, [])


def test_a_dropped_file_is_what_it_would_be_when_it_is_dropped(host: Host) -> None:
    """The same profiles as after the drop, however files replace and extend each other."""
    host.write("usr/common.yaml", "priority: 7\nrps: {cpus: 0}")
    host.write("usr/edge.yaml", "extends: common")
    host.write("web.yaml", "extends: [common, edge]\nmatch: {name: eth0}")
    texts = {"common": "priority: 9", "new": "extends: web", "edge": ""}
    found = drop(host, **texts, web="extends: common")
    for name, text in {**texts, "web": "extends: common"}.items():
        host.write(f"{name}.yaml", text)
    dropped = load(host.directories, owner=ME, templates=str(SHIPPED))
    assert [one.profile for one in found.profiles.profiles] == [
        one.profile for one in dropped.profiles
    ]
    assert (found.refused, dropped.errors) == ((), ())


def test_a_dropped_file_extends_files_of_the_host_and_shipped_templates(host: Host) -> None:
    host.write("usr/common.yaml", "priority: 7")
    found = drop(host, edge="extends: [throughput, common, other]", other="rps: {cpus: 0}")
    assert outcome(found, host) == ({"common": 7, "edge": 7, "other": 50}, [])
    host.write("throughput.yaml", "priority: 8")  # the host's own comes before what is shipped
    assert outcome(drop(host, edge="extends: throughput"), host)[0]["edge"] == 8


def test_mistakes_of_a_dropped_file_are_told_apart(host: Host) -> None:
    host.write("bad.yaml", "prio: 1")
    assert outcome(drop(host, edge="priority: 3"), host) == ({"edge": 3}, [])
    _, (refused,) = outcome(drop(host, edge="priority: 3\nrps: {cpu: 0}"), host)
    assert refused.startswith("./edge.yaml:2:7: rps.cpu: ")
    _, (refused,) = outcome(drop(host, edge="extends: bad"), host)
    assert refused == "./edge.yaml:1:10: extends: `bad` has an error, see etc/bad.yaml"
    _, (refused,) = outcome(drop(host, bad="prio: 2"), host)
    assert refused.startswith("./bad.yaml:1:1: prio: ")
    assert outcome(drop(host, bad="priority: 2"), host) == ({"bad": 2}, [])


def test_what_a_dropped_file_breaks_refuses_it(host: Host) -> None:
    host.write("common.yaml", "cpus: {mine: 0-1}")
    host.write("edge.yaml", "extends: common\npriority: 4\nirq: {cpus: mine}")
    found = drop(host, common="priority: 1")
    assert outcome(found, host)[0]["edge"] == 4  # its last good version, as in the daemon
    (refused,) = found.refused
    assert (os.path.basename(refused.path), refused.line) == ("edge.yaml", 3)


def test_a_dropped_file_does_not_take_the_name_of_one_in_force(host: Host) -> None:
    host.write("web.yaml", "name: edge")
    _, (refused,) = outcome(drop(host, edge="priority: 3"), host)
    assert refused.startswith("./edge.yaml:1:1: name: etc/web.yaml already has a profile")
    assert outcome(drop(host, web="priority: 2", edge="priority: 3"), host)[1] == []


def test_an_empty_file_that_masks_nothing_is_told(host: Host) -> None:
    host.write("usr/edge.yaml", "priority: 1")
    host.write("bad.yaml", "prio: 1")
    assert drop(host, edge="", bad="", new="# later", base="").void == ("./new.yaml",)


def test_templates_are_found_beside_the_package_or_below_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    monkeypatch.setattr(searchpath, "DEFAULT_DIRECTORIES", (str(installed),))
    assert shipped_templates() == str(SHIPPED) == str(PACKAGE.parent / "profiles")
    package = tmp_path / "lib/python3.11/site-packages/netuned"
    (package.parent / "profiles").mkdir(parents=True)  # another's package
    assert shipped_templates(package) == ""
    share = tmp_path / "share/netuned/profiles"
    share.mkdir(parents=True)
    assert shipped_templates(package) == str(share)
    installed.mkdir()
    assert shipped_templates(package) == str(installed)


# --- check ---------------------------------------------------------------------------------


def test_check_looks_beside_the_file_then_in_the_search_path(host: Host) -> None:
    host.write("usr/base.yaml", "priority: 1")
    fleet = host.root / "fleet"
    fleet.mkdir(mode=0o777)
    (fleet / "common.yaml").write_text("extends: base\nirq: {spread: none}\n")
    (fleet / "unrelated.yaml").write_text("name: [")
    (fleet / "edge.yaml").write_text("extends: common\nrss: {queues: none}\n")
    (fleet / "edge.yaml").chmod(0o666)
    found = check(str(fleet / "edge.yaml"), host.directories)
    assert [str(error).replace(f"{fleet}/", "") for error in found] == [
        "common.yaml:2:15: irq.spread: `none` is not allowed here; allowed: one-per-queue, pack, "
        "dedicated or all",
        "edge.yaml:1:10: extends: `common` has an error, see common.yaml",
        "edge.yaml:2:15: rss.queues: `none` is not a queue number or a range like 0-3; write all, "
        "or queue numbers like 0-5",
    ]
    (fleet / "common.yaml").write_text("extends: base\n")
    (fleet / "edge.yaml").write_text("extends: common\ncpus: {a: 0-9}\n")
    assert check(str(fleet / "edge.yaml"), host.directories) == ()
    (error,) = check(str(fleet / "edge.yaml"), host.directories, possible=CpuSet(15))
    assert error.problem == "CPUs 4-9 cannot exist; this host has CPUs 0-3"


def test_check_of_a_file_in_the_search_path_and_of_its_next_version(host: Host) -> None:
    path = host.write("edge.yaml", "priority: 1")
    assert check(str(path), host.directories) == ()
    draft = host.root / "edge.yaml"
    draft.write_text("priority: 2")
    assert check(str(draft), host.directories) == ()


def test_check_finds_a_name_that_is_taken(host: Host) -> None:
    host.write("edge.yaml", "priority: 1")
    draft = host.root / "new.yaml"
    draft.write_text("name: edge")
    (error,) = check(str(draft), host.directories)
    assert error.problem.startswith(f"{host.root}/etc/edge.yaml already has a profile")


def test_check_of_nothing(host: Host) -> None:
    (error,) = check(str(host.root / "absent.yaml"), host.directories)
    assert error.problem == "there is no such file"
    empty = host.root / "empty.yaml"
    empty.write_text("")
    assert check(str(empty), host.directories) == ()


# --- the shipped templates -----------------------------------------------------------------

SHIPPED = Path(__file__).parents[2] / "profiles"


def test_shipped_profiles_are_sound_templates_and_apply_to_nothing() -> None:
    found = load([str(SHIPPED)], possible=CpuSet(1), owner=SHIPPED.stat().st_uid)
    assert found.errors == ()
    names = [loaded.profile.name for loaded in found.profiles]
    assert names == [
        *("af-xdp", "base", "bulk-100g", "forwarding", "isolated-guest", "low-latency"),
        *("realtime", "throughput", "virtual-machine", "zero-copy"),
    ]
    for loaded in found.profiles:
        assert loaded.profile.match == ()
        assert loaded.profile.description
        assert loaded.profile.host.irqbalance == "exclude"


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_shipped_profiles_are_enabled_in_two_lines(host: Host, name: str) -> None:
    host.write("mine.yaml", f"extends: [{name}]\nmatch: {{driver: igb}}\n")
    found = load([host.directories[0], str(SHIPPED)], owner=SHIPPED.stat().st_uid)
    assert found.errors == ()
    mine = next(loaded for loaded in found.profiles if loaded.profile.name == "mine")
    assert mine.profile.match
    assert mine.origins["match[0].driver"].path.endswith("etc/mine.yaml")
    assert mine.origins["host.irqbalance"].path == str(SHIPPED / "base.yaml")


# --- bounds --------------------------------------------------------------------------------


def test_fifty_profiles_load_quickly(host: Host) -> None:
    host.write("usr/base.yaml", "irq: {spread: pack}\n")
    for number in range(50):
        host.write(f"p{number}.yaml", DESIGN_EXAMPLE.replace("edge", f"p{number}"))
    host.load()
    took = []
    for _ in range(4):  # a busy machine makes one of them slower, and not the code
        begin = time.process_time()
        found = host.load(possible="0-127")
        took.append(time.process_time() - begin)
    assert min(took) < 0.3
    assert len(found.profiles) == 51


@pytest.mark.parametrize(
    "text",
    ["[" * (MAX_BYTES - 10), "a: [" + "{}," * (MAX_BYTES // 4), "x: 1\n" * (MAX_BYTES // 6),
     "{a: " * (MAX_BYTES // 5), "".join(f"k{n}:\n" for n in range(MAX_BYTES // 8))],
    ids=["deep", "wide", "duplicates", "deep mappings", "unknown keys"],
)  # fmt: skip
def test_hostile_yaml_is_bounded_in_time(host: Host, text: str) -> None:
    host.write("x.yaml", text)
    begin = time.process_time()
    assert 1 <= len(host.errors()) <= 100
    assert time.process_time() - begin < 3


@ROUNDS
@given(
    st.binary(max_size=60) | st.text("-:[]{}&*!|>'\"%@`#,? \n\tab01", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _, errors = parse_yaml(data, "x")
    for error in errors:
        assert error.problem
        assert error.line >= 0
