"""``netuned-exporter``: serves metrics over HTTP. It has no rights, and changes nothing."""

from __future__ import annotations

import argparse
import gc
import logging
import socket
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from netuned.errors import NetunedError
from netuned.metrics.collecting import Collecting, collector, registry
from netuned.text import escape

log = logging.getLogger(__name__)

DEFAULT = "127.0.0.1:9986"
SLOW_S = 10.0
"""Who sends or takes nothing for so long is left."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread for each connection, so that who is slow is in nobody's way."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Not wsgiref's, which asks the network for the host's name."""
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        log.warning("A scrape was not answered: %s, ignoring", escape(repr(sys.exc_info()[1])))


class Server6(Server):
    address_family = socket.AF_INET6


class Handler(WSGIRequestHandler):
    timeout = SLOW_S

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""


def server(of: Collecting, listen: str) -> Server:
    """What listens there and answers to GET. Raises: NetunedError."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = int(port) if port.isascii() and port.isdigit() else -1
        if not (host and 0 <= number < 1 << 16):
            raise NetunedError(f"{listen} is not an address and a port; write it as {DEFAULT}")
        # loopback is not worth compressing for
        app = make_wsgi_app(registry(of), disable_compression=True)
        return make_server(host, number, app, Server6 if ":" in host else Server, Handler)
    except OSError as error:
        raise NetunedError(f"cannot listen at {listen}: {error.strerror}") from None


def collect_rarely() -> None:
    """Of garbage: a scrape makes thousands of things, and nearly none in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="netuned-exporter",
        description="Tells Prometheus what netuned does, by what it says over D-Bus.",
    )
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", default=DEFAULT, help=f"default: {DEFAULT}"
    )
    parser.add_argument(
        "--counters",
        action="store_true",
        help="count packets and drops by queue, and softirqs and interrupts by CPU, too",
    )
    return parser


def main() -> None:
    """Entry point of ``netuned-exporter``."""
    arguments = make_parser().parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        serving = server(collector(counters=arguments.counters), arguments.listen)
    except NetunedError as error:
        sys.exit(f"netuned-exporter: {escape(error.whole())}")
    collect_rarely()
    log.info("Listening at %s", arguments.listen)
    serving.serve_forever()
