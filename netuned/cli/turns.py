"""An arm of an experiment in force on a card, and back: a trial of the daemon's, watched over."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from netuned import statefile
from netuned.bus.client import Client
from netuned.cli import cutoff
from netuned.cli.enable import path_of
from netuned.cli.plan import of_daemon, unsupported
from netuned.errors import NetunedError
from netuned.records import dataclass
from netuned.regex import regex
from netuned.status import IN_SYNC, OBSERVED, PARTIAL, PAUSED, UNMANAGED, Status

DIRECTORY = "/run/netuned/profiles.d"
"""Where arms are: what is left there after a loss of power is nothing."""
HEAD = "# Written by `netunedctl experiment`, which takes it away. Nothing runs? Take it away.\n"
STEADY = (IN_SYNC, PARTIAL, UNMANAGED, OBSERVED)
OWN_LINK, LINK_LOSS = "--own-link", "--link-loss"

_TRIAL = regex(r"(?:^|; )(\w+): (.*?), (?:until|being)")
"""Of what waits to be confirmed: the ID and the cards."""
_UNDER_WAY = "?"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Stage:
    """The card that arms take turns on, the file that each is in, and what is allowed."""

    card: str
    path: str
    link_loss: bool = False
    own_link: bool = False

    @property
    def profile(self) -> str:
        return Path(self.path).stem


def stage_of(card: str, directory: str, *, link_loss: bool, own_link: bool) -> Stage:
    name = Path(path_of(card, [directory])).name.replace("enable-", "experiment-", 1)
    return Stage(card, f"{directory.rstrip('/')}/{name}", link_loss, own_link)


def check_card(client: Client, stage: Stage) -> None:
    """Raises: NetunedError where the state from before could not be told from what is tried."""
    check_status(client.status(queues=False), stage.card)
    with contextlib.suppress(FileNotFoundError):  # of one that was killed together with its watch
        there = Path(stage.path).read_text("utf-8", "replace")
        if not there.startswith(HEAD):
            raise NetunedError(f"{stage.path}: was not written by an experiment; move it first")


def check_status(status: Status, name: str) -> None:
    """Raises: NetunedError where something waits to be confirmed, or a card is not steady."""
    if pending := status.manager.pending_confirm:
        raise NetunedError(
            f"something waits to be confirmed ({pending}); first `netunedctl confirm ID` or "
            "`netunedctl rollback`"
        )
    card = next((nic for nic in status.nics if nic.name == name), None)
    state = PAUSED if card and card.paused else card.state if card else UNMANAGED
    if state not in STEADY:
        raise NetunedError(
            f"{name} is {state}, so nobody could say what it has to go back to; first "
            f"`netunedctl apply {name}`, or `netunedctl resume {name}` if it is paused"
        )


def _lay(client: Client, stage: Stage, text: str) -> bool:
    """An arm's file where the daemon has read it, the card paused; whether that changes anything.

    Raises: NetunedError.
    """
    client.pause(stage.card)
    try:
        Path(stage.path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        statefile.write_atomically(Path(stage.path), text.encode(), 0o644)
    except OSError as error:
        raise NetunedError(
            f"{stage.path}: cannot be written: {error.strerror}; try it as root"
        ) from None
    client.reload()
    answer = of_daemon(client)
    for said in client.status(queues=False).manager.profile_errors:
        if said.startswith(stage.path):
            raise NetunedError(f"an arm is no profile: {said}; try it again once that is mended")
    found = answer.cards[stage.card].profile if stage.card in answer.cards else ""
    if found != stage.profile:
        raise NetunedError(
            f"{found or 'no profile'} is in force on {stage.card} instead of the arm; "
            f"`netunedctl explain {stage.card}` tells why"
        )
    plan = answer.of([stage.card]).plan
    for problem in plan.problems:
        if problem.ifname == stage.card:
            raise NetunedError(f"{stage.card}: {problem.message}; take another")
    losing = next((change for change in plan.changes if change.disruptive), None)
    if losing and not stage.link_loss:
        raise NetunedError(
            f"{losing.ifname} would lose its link for a while with each turn ({losing.tunable} "
            f"{losing.key} {losing.after}); use {LINK_LOSS} to allow that"
        )
    for warning in cutoff.warnings(plan.changes, tried=True, any_change=True):
        if not stage.own_link:
            raise NetunedError(f"{warning.rstrip('.')}; use {OWN_LINK} to allow that")
    return bool(plan.changes)


def begin(client: Client, stage: Stage, text: str, timeout_s: int) -> str:
    """Bring an arm into force, for a while at most. Returns the trial's ID, empty if none needs be.

    Raises: NetunedError; then it is to be ended all the same.
    """
    _lay(client, stage, text)
    id, _ = client.begin_trial(stage.card, timeout_s)
    if not id:
        client.resume(stage.card)
    return id


def end(client: Client, stage: Stage, id: str) -> None:
    """Put back what was there before the arm; without an ID also a trial that did not tell its own.

    Raises: NetunedError.
    """
    try:
        _roll_back(client, stage, id)
    finally:
        Path(stage.path).unlink(missing_ok=True)
        client.reload()
        client.resume(stage.card)
    if not id:  # it may have begun meanwhile
        _roll_back(client, stage, id)


def _roll_back(client: Client, stage: Stage, id: str) -> None:
    pending = client.status(queues=False).manager.pending_confirm
    for waiting, cards in _TRIAL.findall(pending):  # none waited before the experiment
        if waiting == id or (not id and stage.card in cards.split(", ")):
            client.roll_back(waiting)


class Watch:
    """Another process that ends a turn where this one was killed in it."""

    def __init__(self, stage: Stage) -> None:
        reading, self._telling = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._telling)
            status = 1
            try:
                status = _watch(stage, reading)
            finally:
                os._exit(status)
        os.close(reading)

    def tell(self, what: str) -> None:
        os.write(self._telling, f"{what}\n".encode())

    def close(self) -> None:
        os.close(self._telling)
        os.waitpid(self._pid, 0)


def _watch(stage: Stage, reading: int) -> int:
    """Until the other end is closed, by whatever; then end what was under way. In the child."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    with os.fdopen(reading, encoding="utf-8") as told:
        last = [_NOTHING, *told.read().split()][-1]
    if last == _NOTHING:
        return 0
    with Client() as client:
        end(client, stage, last.replace(_UNDER_WAY, ""))
    return 0


@contextlib.contextmanager
def watched(stage: Stage) -> Iterator[Watch]:
    """To be begun before anything else is: it is a fork of what is there then."""
    watch = Watch(stage)
    try:
        yield watch
    finally:
        watch.close()


def check_arm(client: Client, watch: Watch, stage: Stage, text: str) -> bool:
    """Have the daemon plan an arm, and change nothing. Says whether it would change anything.

    Raises: NetunedError if it is refused.
    """
    watch.tell(_UNDER_WAY)
    try:
        return _lay(client, stage, text)
    finally:
        end(client, stage, "")
        watch.tell(_NOTHING)


@contextlib.contextmanager
def in_force(
    client: Client, watch: Watch, stage: Stage, text: str, timeout_s: int
) -> Iterator[tuple[str, ...]]:
    """An arm in force, and all as before afterwards. Gives what of it the card cannot have.

    Raises: NetunedError, also where it was in force no more when what it is for had ended.
    """
    id = ""
    watch.tell(_UNDER_WAY)
    try:
        id = begin(client, stage, text, timeout_s)
        watch.tell(id or _UNDER_WAY)
        lacks = unsupported(client.status(queues=False))
        yield tuple(f"{tunable}: {why}" for name, tunable, why in lacks if name == stage.card)
        _check_in_force(client, stage, id)
    finally:
        end(client, stage, id)
        watch.tell(_NOTHING)


def _check_in_force(client: Client, stage: Stage, id: str) -> None:
    status = client.status(queues=False)
    card = next((nic for nic in status.nics if nic.name == stage.card), None)
    waits = not id or any(
        id == waiting for waiting, _ in _TRIAL.findall(status.manager.pending_confirm)
    )
    if not waits or card is None or card.profile != stage.profile or card.state not in STEADY:
        state = f"{card.state}, of {card.profile or 'no profile'}" if card else "gone"
        raise NetunedError(
            f"{stage.card} was not kept as the arm has it while it was measured (it is {state}); "
            f"`netunedctl history {stage.card}` tells who changed it"
        )


def text_of(content: Mapping[str, object], selecting: Mapping[str, str], priority: int) -> str:
    """An arm as a profile that wins on one card; ``content`` are keys, with values as written."""
    from netuned.profiles.yamlwriting import dump

    head = dump({"match": [dict(selecting)], "priority": priority})
    return HEAD + head + "".join(_lines(content, ""))


def _lines(content: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:\n"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {value}\n"
