"""``netunedctl metrics``: what netuned-exporter tells, once, for node_exporter's textfiles."""

from __future__ import annotations

import argparse
import os
import sys

from netuned.errors import NetunedError
from netuned.leanness import let_in
from netuned.metrics import LIBRARY, NO_CLIENT

SUFFIX = ".prom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where to, as a whole or not at all; node_exporter reads what ends in .prom "
        "(default: standard output)",
    )
    parser.add_argument(
        "--counters",
        action="store_true",
        help="count packets and drops by queue, and softirqs and interrupts by CPU, too",
    )


def run(arguments: argparse.Namespace) -> int:
    let_in("ssl")  # which prometheus_client imports, for servers of its own
    try:
        from netuned.metrics.collecting import collector, text
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != LIBRARY:
            raise
        raise NetunedError(NO_CLIENT) from None
    from netuned.snapshots.archive import new_file

    if arguments.out and not arguments.out.endswith(SUFFIX):
        raise NetunedError(
            f"{arguments.out}: node_exporter reads only what ends in {SUFFIX}; name it so"
        )
    content = text(collector(counters=arguments.counters))
    if not arguments.out:
        sys.stdout.buffer.write(content)
        return 0
    with new_file(arguments.out) as file:
        os.fchmod(file.fileno(), 0o644)  # node_exporter is another user
        file.write(content)
    return 0
