"""What netuned reads from outside, one target each: any bytes are read, or refused in a sentence.

A target takes bytes and returns; what it lets through is a traceback that a user would have seen.
"""

from __future__ import annotations

from tests.fuzz import answers, files, requests, texts

TARGETS = (*texts.TARGETS, *files.TARGETS, *answers.TARGETS, *requests.TARGETS)
