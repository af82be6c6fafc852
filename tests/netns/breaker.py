"""Write a wrong value into a kernel file and wait until it is put back: the repair's latency.

``python -m tests.netns.breaker PATH VALUE`` prints it in milliseconds; ``measure`` repeats it.
"""

from __future__ import annotations

import os
import sys
import time


def measure(path: str, wrong: bytes, timeout_s: float = 5.0) -> float:
    """Seconds from the start of the foreign write to the first read of the old value.

    Raises: TimeoutError when it is not put back.
    """
    with open(path, "r+b", buffering=0) as file:
        right = os.pread(file.fileno(), 4096, 0)
        start = time.perf_counter()
        os.pwrite(file.fileno(), wrong, 0)
        while os.pread(file.fileno(), 4096, 0) != right:
            if time.perf_counter() - start > timeout_s:
                raise TimeoutError(f"{path} still has {wrong!r} after {timeout_s} s")
            time.sleep(0.00002)
        return time.perf_counter() - start


if __name__ == "__main__":
    print(f"{1000 * measure(sys.argv[1], sys.argv[2].encode()):.2f} ms")
