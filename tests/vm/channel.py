"""The host's end of the command channel to the guest's agent: JSON lines over a UNIX socket."""

import json
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from .host import LabError

Answer = Mapping[str, Any]
"""A JSON object; who made the request knows its fields."""


class Channel:
    """Requests from any thread, answered in any order; each caller waits for its own."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._ids = count()
        self._waiting: dict[int, Future[Answer]] = {}
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._boot_id = ""
        self._closed = False
        self._reader = threading.Thread(target=self._read, name="lab-channel", daemon=True)
        self._reader.start()

    def wait_for_agent(self, timeout_s: float, not_boot: str = "") -> str:
        """Wait until an agent has said hello, from another boot than `not_boot`: its boot id.

        Raises:
            LabError: none did in time, or the machine ended.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._boot_id not in ("", not_boot), timeout_s
            )
            if self._closed or self._boot_id in ("", not_boot):
                why = "the machine ended" if self._closed else f"none within {timeout_s:.0f} s"
                raise LabError(f"no word from the guest's agent: {why}")
            return self._boot_id

    def request(self, op: str, within_s: float, **fields: Any) -> Answer:
        """Have the agent carry out an operation and wait for its answer.

        Raises:
            LabError: the operation failed, no answer came in time, or the machine ended.
        """
        answer: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise LabError(f"{op}: the machine has ended")
            number = next(self._ids)
            self._waiting[number] = answer
        line = json.dumps({"id": number, "op": op, **fields}).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
            reply = answer.result(within_s)
        except TimeoutError:
            raise LabError(f"{op}: no answer within {within_s:.0f} s") from None
        except OSError as error:
            raise LabError(f"{op}: the machine has ended: {error}") from error
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            raise LabError(f"{op}: in the guest: {reply['error']}")
        return reply

    def close(self) -> None:
        """Give the connection up; callers that still wait are told."""
        with suppress(OSError):  # QEMU was there first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        # an error is a machine that was killed: the same as its end
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                self._take(line)
        with self._changed:
            self._closed = True
            self._fail("the machine has ended")
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return  # half a line, from an agent that was killed while it wrote
        if "hello" in message:
            with self._changed:
                self._boot_id = message["hello"]
                self._fail("the agent was started anew")
                self._changed.notify_all()
        elif waiting := self._waiting.get(message["id"]):
            waiting.set_result(message)

    def _fail(self, why: str) -> None:
        for waiting in list(self._waiting.values()):
            if not waiting.done():
                waiting.set_result({"error": why})
