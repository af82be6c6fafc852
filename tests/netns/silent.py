"""A FUSE file system that answers when it is told to: ``python -m tests.netns.silent MOUNTPOINT``.

Every name exists, as a file that holds the text on standard input. What its name begins with is
not answered (``lookup``, ``open``, ``read``) until SIGUSR1 comes: then all that was asked is, and
all that will be. SIGUSR2: what was asked never is, what will be asked is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE = 1, 2, 3, 14, 15, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 42
SLOW = {LOOKUP: "lookup", OPEN: "open", READ: "read"}
ENOSYS = 38


class Server:
    def __init__(self, mountpoint: str, text: bytes) -> None:
        self._text = text
        self._names = {1: b""}
        self._waiting: list[bytes] = []
        self._answers = False
        self._fuse = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self._fuse},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
        if libc.mount(b"silent", mountpoint.encode(), b"fuse", 0, options):
            sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
        signal.signal(signal.SIGUSR1, self._answer)
        signal.signal(signal.SIGUSR2, self._forget)

    def _answer(self, *_: object) -> None:
        self._answers = True
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._take(request)

    def _forget(self, *_: object) -> None:
        self._answers = True
        self._waiting = []

    def run(self) -> None:
        while True:
            try:
                self._take(os.read(self._fuse, 1 << 17))
            except OSError:  # unmounted
                return

    def _take(self, request: bytes) -> None:
        _, code, unique, node = struct.unpack_from("<IIQQ", request)
        body = request[40:]
        name = body.rstrip(b"\0") if code == LOOKUP else self._names.get(node, b"")
        if code in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if code in SLOW and name.startswith(SLOW[code].encode()) and not self._answers:
            self._waiting.append(request)
            return
        error, data = 0, b""
        if code == INIT:
            data = struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 12, 9, 65536, 1, 32, 0, 0) + bytes(
                28
            )
        elif code == LOOKUP:
            number = hash(name) & 0x7FFFFFFF | 2
            self._names[number] = name
            data = struct.pack("<QQQQII", number, 1, 0, 0, 0, 0) + self._attributes(number)
        elif code == GETATTR:
            data = struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        elif code in (OPEN, OPENDIR):
            data = struct.pack("<QII", 1, 1, 0)
        elif code == READ:
            offset = struct.unpack_from("<QQ", body)[1]
            data = self._text[offset:]
        elif code not in (READDIR, RELEASE, RELEASEDIR, FLUSH):
            error = ENOSYS
        os.write(self._fuse, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)

    def _attributes(self, node: int) -> bytes:
        mode, size = (0o40755, 0) if node == 1 else (0o100644, len(self._text))
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, *[0] * 7, mode, 1, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    server = Server(sys.argv[1], sys.stdin.buffer.read())
    print("mounted", flush=True)
    server.run()
