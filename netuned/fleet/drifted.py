"""Which hosts are not as their profiles say, by what ``netunedctl status --json`` said of each."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from netuned.errors import NetunedError
from netuned.fleet.files import HostFile
from netuned.fleet.groups import Seen, Unread, digest
from netuned.snapshots.archive import open_regular
from netuned.status import (
    APPLYING,
    CONTENDED,
    DEGRADED,
    DRIFTED,
    IN_SYNC,
    NOT_RUNNING,
    OUT_OF_SYNC,
    PARTIAL,
    PAUSED,
    STARTING,
    UNSUPPORTED,
    WAITING,
    WITHHELD,
    SettingStatus,
    Status,
    card_in_sync,
    in_sync,
)

MAX_BYTES = 1 << 24
"""Of a status; 64 cards of 128 queues have 5 MB."""

PROBLEMS, UNCONFIRMED = "problems", "unconfirmed"
KINDS = (
    *(NOT_RUNNING, DEGRADED, CONTENDED, DRIFTED, PROBLEMS, UNCONFIRMED),
    *(WITHHELD, WAITING, UNSUPPORTED, PARTIAL, PAUSED, APPLYING, STARTING, IN_SYNC),
)
"""How hosts are, the worst first."""

_STATUS = TypeAdapter(Status)


def look(file: HostFile) -> Seen[Status] | Unread:
    """How one host was."""
    try:
        status = read(file.path)
    except NetunedError as error:
        return Unread(file.path, error.whole())
    manager = replace(status.manager, settings=_amiss(status.manager.settings), profiles=())
    nics = [nic for nic in status.nics if not card_in_sync(nic)]
    shown = Status(
        manager, tuple(replace(nic, settings=_amiss(nic.settings), queues=()) for nic in nics)
    )
    how = kind(status)
    group = (
        how,
        [(nic.name, nic.profile, nic.state, _states(nic.settings)) for nic in shown.nics],
        _states(manager.settings),
        manager.profile_errors,
        manager.problems,
        bool(manager.pending_confirm),
    )
    why = [(nic.last_error, [s.reason for s in nic.settings]) for nic in shown.nics]
    return Seen(file.host, KINDS.index(how), digest(group), digest((group, why)), shown)


def read(path: str) -> Status:
    """A host's status, also as one of what Ansible's `info` returned.

    Raises: NetunedError for what is no status of a whole host.
    """
    try:
        with open(path, "rb", opener=open_regular) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NetunedError(f"{path}: cannot be read: {error.strerror}; name one that can") from None
    if len(content) > MAX_BYTES:
        raise NetunedError(
            f"{path}: is larger than {MAX_BYTES >> 20} MB, so it is not what "
            "`netunedctl status --json` prints"
        )
    try:
        said = from_json(content)
        if isinstance(said, dict) and "manager" not in said:
            said = said.get("status", said)
        return _STATUS.validate_python(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}" if where else first["msg"]
    except ValueError as error:
        why = str(error)
    raise NetunedError(f"{path}: is not what `netunedctl status --json` prints: {why}")


def kind(status: Status) -> str:
    """One of ``KINDS``: the worst that holds of a card, a setting or the host."""
    manager = status.manager
    if manager.state in (NOT_RUNNING, STARTING):
        return manager.state
    found = {nic.state for nic in status.nics if not card_in_sync(nic)}
    of = (*manager.settings, *(setting for nic in status.nics for setting in nic.settings))
    found |= {setting.state for setting in of if setting.state in OUT_OF_SYNC}
    if manager.profile_errors or manager.problems:
        found.add(PROBLEMS)
    if manager.pending_confirm:
        found.add(UNCONFIRMED)
    if in_sync(status):
        return IN_SYNC
    return next((known for known in KINDS if known in found), DEGRADED)


def _amiss(settings: tuple[SettingStatus, ...]) -> tuple[SettingStatus, ...]:
    return tuple(setting for setting in settings if setting.state in OUT_OF_SYNC)


def _states(settings: tuple[SettingStatus, ...]) -> list[tuple[str, str]]:
    return [(setting.tunable, setting.state) for setting in settings]
