"""CpuSet: a set of logical CPUs, and the kernel's two text forms of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import compress
from string import hexdigits

from netuned.records import dataclass

MAX_CPU = 1 << 16
"""No machine has CPU numbers past this; a bound so that "0-999999999" costs nothing."""

_BITS = bytes.maketrans(b"0", b"\0")


@dataclass(frozen=True, slots=True)
class CpuSet:
    """An immutable set of logical CPU numbers; bit *n* of ``bits`` is CPU *n*."""

    bits: int = 0

    @classmethod
    def of(cls, cpus: Iterable[int]) -> CpuSet:
        """The set of these CPU numbers."""
        bits = 0
        for cpu in cpus:
            bits |= 1 << cpu
        return cls(bits)

    @classmethod
    def parse_list(cls, text: str) -> CpuSet:
        """Read a cpulist: ``0-3,8,16-31:2/4``; empty text is the empty set.

        Raises: ValueError with a sentence on the part that is wrong.
        Source: Documentation/admin-guide/cputopology.rst, lib/bitmap-str.c (bitmap_parselist).
        """
        bits = 0
        for part in text.strip().split(",") if text.strip() else ():
            bits |= _parse_range(part.strip())
        return cls(bits)

    @classmethod
    def parse_mask(cls, text: str) -> CpuSet:
        """Read a cpumask: hexadecimal words of 32 bits, most significant first, ``ff,00000001``.

        Raises: ValueError.
        Source: lib/bitmap-str.c (bitmap_parse).
        """
        words = text.strip().split(",")
        bits = 0
        for word in words:
            if not 0 < len(word) <= 8 or word.strip(hexdigits):
                raise ValueError(f"{word!r} is not a 32-bit word of a cpumask")
            bits = bits << 32 | int(word, 16)
        return cls(bits)

    def to_mask(self) -> str:
        """The cpumask text, as few 32-bit words as hold it."""
        words = []
        bits = self.bits
        while True:
            words.append(bits & 0xFFFFFFFF)
            bits >>= 32
            if not bits:
                break
        head, *rest = reversed(words)
        return ",".join([f"{head:x}", *(f"{word:08x}" for word in rest)])

    @property
    def first(self) -> int:
        """The lowest CPU number. Raises: ValueError on the empty set."""
        if not self.bits:
            raise ValueError("the empty CPU set has no first CPU")
        return (self.bits & -self.bits).bit_length() - 1

    @property
    def only(self) -> int:
        """The set's CPU if it has just one, else -1."""
        bits = self.bits
        return -1 if bits & (bits - 1) else bits.bit_length() - 1

    def __iter__(self) -> Iterator[int]:
        length = self.bits.bit_length()
        if length < 16 * self.bits.bit_count():  # then it is quicker to look at each bit
            return compress(range(length), f"{self.bits:b}".encode().translate(_BITS)[::-1])
        return self._few()

    def _few(self) -> Iterator[int]:
        bits = self.bits
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return bool(self.bits)

    def __contains__(self, cpu: int) -> bool:
        return bool(self.bits >> cpu & 1)

    def __and__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.bits & other.bits)

    def __or__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.bits | other.bits)

    def __sub__(self, other: CpuSet) -> CpuSet:
        return CpuSet(self.bits & ~other.bits)

    def __str__(self) -> str:
        """The cpulist text, ``0-3,8``; of the empty set the empty string, as the kernel writes."""
        parts: list[str] = []
        bits = self.bits
        base = 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            bits >>= skip
            base += skip
            run = (~bits & (bits + 1)).bit_length() - 1
            parts.append(str(base) if run == 1 else f"{base}-{base + run - 1}")
            bits >>= run
            base += run
        return ",".join(parts)


def _parse_range(part: str) -> int:
    span, colon, stride = part.partition(":")
    first_text, dash, last_text = span.partition("-")
    try:
        first = _number(first_text)
        last = _number(last_text) if dash else first
        used, group = (1, 1)
        if colon:
            used_text, _, group_text = stride.partition("/")
            used, group = _number(used_text), _number(group_text)
    except ValueError:
        raise ValueError(f"{part!r} is not a CPU number or a range like 0-3") from None
    if last < first:
        raise ValueError(f"the range {part!r} runs backwards")
    if not 0 < used <= group:
        raise ValueError(f"{part!r}: used/group must be like 2/4")
    if colon:
        return CpuSet.of(cpu for cpu in range(first, last + 1) if (cpu - first) % group < used).bits
    return (1 << last + 1) - (1 << first)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    value = int(text) if len(text) < 7 else MAX_CPU
    if value >= MAX_CPU:
        raise ValueError(text)
    return value
