"""Experiments that would prove the cures of findings: what they try, and where there is none."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from netuned.cli import experiment, offering, turns
from netuned.cli.main import run
from netuned.cli.offering import Offered
from netuned.cli.parser import make_parser
from netuned.counters.sample import Sample
from netuned.doctor.examine import examine
from netuned.doctor.facts import Facts
from netuned.doctor.finding import profile
from netuned.experiment.measures import MEASURES
from netuned.experiment.offer import LATENCIES, METRICS, WITHOUT, Offer, Unproven, offer
from netuned.profiles.loader import check
from netuned.status import NOT_RUNNING, ManagerStatus, NicStatus, Status
from tests.unit.doctored import counted, described, known
from tests.unit.test_doctor import IDS, MADE, PLAIN, TEXTS

SETTINGS = {  # finding: its cure as it is tried, or why none is
    "xps-unequal": "xps.cpus=auto",
    "few-cpus": "channels.combined=auto 'irq.cpus=local & housekeeping' irq.spread=one-per-queue",
    "other-l3": "'irq.cpus=\"l3:4 & housekeeping\"'",
    "uneven-rss": "rss.queues=all rss.weights=equal",
    "moved-interrupts": "'irq.cpus=local & housekeeping' irq.spread=one-per-queue",
    "ring-overflow": "rings.rx=max",
    "fq-flow-limit": "qdisc.kind=fq qdisc.flow_limit=1000",
    "isolated-cpus": "in no metric",
    "adaptive-latency": "tells no latency",
    "udp-buffers": "of the host (host.sysctl.net.core.rmem_max)",
    "conntrack-full": "of the host (host.sysctl.net.netfilter.nf_conntrack_max)",
    "slow-bus": "no setting that a profile has",
}


def machine_of(facts: Facts) -> str:
    """The description that a case's facts come from."""
    names = [card.nic.name for card in facts.cards.values()]
    for text in TEXTS:
        known_ = described(text)
        if (
            known_.topology == facts.topology
            and [card.nic.name for card in known_.cards.values()] == names
        ):
            return text
    return TEXTS[0]


def only(name: str, facts: Facts, what: Sample, *, live: bool = True) -> Offer | Unproven:
    (finding,) = (found for found in examine(facts, what) if found.name == name)
    usual = experiment.LIVE if live else experiment.WITH_LOAD
    return offer(finding, facts, what, live=live, usual=usual)


def case(name: str) -> tuple[Facts, Sample]:
    return next((facts, what) for found, facts, what, _, _ in MADE if found == name)


@pytest.mark.parametrize(("name", "facts", "what", "well", "calm"), MADE, ids=IDS)
def test_an_experiment_takes_what_it_is_offered(
    name: str, facts: Facts, what: Sample, well: Facts, calm: Sample, tmp_path: Path
) -> None:
    """Pasted into a shell it is taken by the parser, and each arm is a profile."""
    machine = tmp_path / "machine.yaml"
    machine.write_text(machine_of(facts))
    findings = [finding for finding in examine(facts, what) if finding.name == name]
    (found,) = offering.made(findings, facts, what, (), str(machine))
    fields = offering.as_json(found)
    json.dumps(fields)
    if isinstance(found, Unproven):
        assert fields == {"experiment": None, "no_experiment": found.why}
        assert (
            not findings[0].profile
            or "of the host" in found.why
            or found.why
            in (
                *WITHOUT.values(),
                "traffic that is there tells no latency; name a load by --with",
                "the card has it so already, or cannot have more",
            )
        )
        return
    program, *words = shlex.split(found.command)
    assert program == "netunedctl"
    arguments = make_parser(["experiment"]).parse_args(words)
    assert arguments.card == findings[0].card
    assert arguments.live
    assert arguments.metric in MEASURES
    assert found.seconds == 2 * 5 * (2 + 3 + 30)
    arms = experiment.arms_of(arguments.arms, arguments.settings)
    assert next(arm.name for arm in arms) == "none"
    for number, arm in enumerate(arms):
        path = tmp_path / f"arm{number}.yaml"
        path.write_text(turns.text_of(arm.content, {"name": arguments.card}, 1000))
        assert check(str(path), (str(tmp_path),)) == (), path.read_text()
    assert arguments.link_loss == any("loses its link" in one for one in found.warnings)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_cure_is_what_is_tried(name: str) -> None:
    found = only(name, *case(name))
    if isinstance(found, Offer):
        assert shlex.join(found.settings) == SETTINGS[name]
        assert found.apart == (("host.irqbalance",) if name == "moved-interrupts" else ())
    else:
        assert SETTINGS[name] in found.why


def test_every_metric_is_one_and_every_finding_there_is() -> None:
    assert {*METRICS.values(), *LATENCIES.values()} <= MEASURES.keys()
    assert {*METRICS, *LATENCIES, *WITHOUT} <= {name for name, *_ in MADE}


def test_it_is_about_what_the_finding_is_and_the_traffic_can_tell() -> None:
    facts, what = case("adaptive-latency")
    of_load = only("adaptive-latency", facts, what, live=False)
    assert isinstance(of_load, Offer)
    assert of_load.metric == "latency_p99_us"
    facts, what = case("rfs-without-table")
    nothing = counted(what, totals={"rx_packets": 0, "tx_packets": 0})
    found = only("rfs-without-table", facts, nothing)
    assert isinstance(found, Unproven)
    assert "nothing was sent or received" in found.why
    facts, what = case("silent-queue")  # by interrupts: packets of queues are counted or not
    uncounted = replace(what, cards={2: replace(what.cards[2], rx={})})
    found = only("silent-queue", facts, uncounted)
    assert isinstance(found, Offer)
    assert found.metric == ""


def test_where_a_profile_is_in_force_its_cure_comes_on_top(tmp_path: Path) -> None:
    """What is there is compared with the same and the cure, not with nothing."""
    facts, what = case("ring-overflow")
    card = NicStatus(2, "eth0", "ice", "edge", "in-sync")
    facts = replace(facts, status=Status(ManagerStatus("1", "in-sync"), (card,)))
    machine, profiles = tmp_path / "machine.yaml", tmp_path / "profiles.d"
    machine.write_text(machine_of(facts))
    profiles.mkdir()
    edge = profiles / "edge.yaml"
    edge.write_text('match: [{name: "eth0"}]\nxps: {cpus: auto}\n')
    findings = [finding for finding in examine(facts, what) if finding.name == "ring-overflow"]
    more = offering.words(f"--profiles {profiles}")

    def made() -> Offered | Unproven:
        return offering.made(findings, facts, what, more, str(machine))[0]

    found = made()
    assert isinstance(found, Offered)
    assert found.command.startswith(
        "netunedctl experiment edge --set 'extends=[\"edge\"]' rings.rx=max --card eth0 "
    )
    edge.write_text('match: [{name: "eth0"}]\npolicy: {disruptive: deny}\n')
    found = made()
    assert isinstance(found, Unproven)
    assert "policy.disruptive is deny" in found.why
    edge.unlink()
    found = made()
    assert isinstance(found, Unproven)
    assert "would be refused" in found.why


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--card eth1", "are those of each finding"),
        ("--set xps.cpus=auto", "are those of each finding"),
        ("--json", "run the command for a file"),
        ("--html", "run the command for a file"),
        ("--metric gbits", "did you mean"),
        ("--drop-ends --runs 2", "use `--runs 4` or more"),
        ("--for 1h", "say a shorter `--for`"),
        ('--load "a \'b"', "quote it as for a shell"),
    ],
)
def test_words_that_would_be_refused_or_try_something_else_are(more: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(said)):
        offering.words(more)


@pytest.mark.parametrize(
    ("card", "pending", "said"),
    [
        (NicStatus(2, "eth0", "ice", "", "contended"), "", "eth0 is contended"),
        (NicStatus(2, "eth0", "ice", "", "in-sync", paused=True), "", "eth0 is paused"),
        (NicStatus(2, "eth0", "ice", "", "in-sync"), "abc: eth1, until 1", "waits to be confirmed"),
    ],
)
def test_what_cannot_go_back_now_is_not_offered(
    card: NicStatus, pending: str, said: str, tmp_path: Path
) -> None:
    facts, what = case("ring-overflow")
    manager = ManagerStatus("1", "in-sync", pending_confirm=pending)
    facts = replace(facts, status=Status(manager, (card,)))
    machine = tmp_path / "machine.yaml"
    machine.write_text(machine_of(facts))
    findings = [finding for finding in examine(facts, what) if finding.name == "ring-overflow"]
    (found,) = offering.made(findings, facts, what, (), str(machine))
    assert isinstance(found, Unproven)
    assert said in found.why


def test_without_a_daemon_files_tell_which_profile_is_in_force(tmp_path: Path) -> None:
    facts, what = case("ring-overflow")
    machine, profiles = tmp_path / "machine.yaml", tmp_path / "profiles.d"
    machine.write_text(machine_of(facts))
    profiles.mkdir()
    (profiles / "edge.yaml").write_text('match: [{name: "eth0"}]\nxps: {cpus: auto}\n')
    findings = [finding for finding in examine(facts, what) if finding.name == "ring-overflow"]
    more = offering.words(f"--profiles {profiles}")
    (found,) = offering.made(findings, facts, what, more, str(machine))
    assert isinstance(found, Offered)
    assert found.words[:4] == ("experiment", "edge", "--set", 'extends=["edge"]')


def test_a_name_like_an_option_is_a_card(tmp_path: Path) -> None:
    facts, what = case("ring-overflow")
    machine = tmp_path / "machine.yaml"
    machine.write_text(machine_of(facts).replace("eth0", '"-x"'))
    facts = known(facts, name="-x")
    (finding,) = (found for found in examine(facts, what) if found.name == "ring-overflow")
    finding = replace(finding, profile=profile(facts.cards[2].nic, "rings: {rx: max}"))
    (found,) = offering.made([finding], facts, what, (), str(machine))
    assert isinstance(found, Offered)
    assert make_parser(["experiment"]).parse_args(found.words).card == "-x"


def test_what_is_missing_is_told() -> None:
    assert any("systemctl start netuned" in one for one in offering.needed(PLAIN))
    stopped = Status(ManagerStatus("1", NOT_RUNNING), ())
    assert any("daemon" in one for one in offering.needed(replace(PLAIN, status=stopped)))
    there = replace(PLAIN, status=Status(ManagerStatus("1", "in-sync"), ()))
    assert not any("daemon" in one for one in offering.needed(there))


def test_without_scipy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "find_spec", lambda _: None)
    assert any("apt install python3-scipy" in one for one in offering.needed(PLAIN))


def test_what_a_terminal_would_not_show_is_not_offered() -> None:
    facts, what = case("ring-overflow")
    facts = known(facts, name="e\x1b[2J")
    (finding,) = (found for found in examine(facts, what) if found.name == "ring-overflow")
    finding = replace(finding, profile=profile(facts.cards[2].nic, "rings: {rx: max}"))
    (found,) = offering.made([finding], facts, what, (), None)
    assert isinstance(found, Unproven)


def test_of_a_description_it_shows_and_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text("cores: 4\ncards: [{name: eth0, driver: ice}]\n")
    assert run(["doctor", "--try", "--snapshot", str(path)]) == 0
    assert "There is no experiment that would prove a cure." in capsys.readouterr().out
    assert run(["doctor", "--try", "--snapshot", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["experiments_need"] == []
    assert run(["doctor", "--with", "--runs 8", "--snapshot", str(path)]) == 1
    assert "use it with --try" in capsys.readouterr().err
    assert run(["doctor", "--try", "--with", "--runs many"]) == 2
    assert "'many' is not a number from 2 to 100" in capsys.readouterr().err
    assert run(["doctor", "--try", "--with", "'"]) == 2
