"""Pure: what a change of profiles would do to many hosts, as one document of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netuned.fleet.groups import Group, Unread, counts, folded
from netuned.fleet.planned import KINDS, Planned, Question, in_short, others
from netuned.report.document import written


def html(
    groups: Sequence[Group[Planned]], unread: Sequence[Unread], question: Question, at: float
) -> Iterator[str]:
    """The document in pieces: each group is drawn when it is its turn. ``at`` is its time."""
    return written(
        "hosts.html",
        at,
        summary=counts(groups, unread, KINDS),
        kinds=[*_by_kind(groups)],
        unread=unread,
        question=question,
        folded=folded,
        in_short=in_short,
        others=others,
    )


def _by_kind(groups: Sequence[Group[Planned]]) -> Iterator[tuple[str, str, list[Group[Planned]]]]:
    """Of each kind that there is: an anchor, its name, and its groups, the worst first."""
    for rank, kind in enumerate(KINDS):
        if alike := [group for group in groups if group.example.rank == rank]:
            yield f"kind{rank}", kind, alike
