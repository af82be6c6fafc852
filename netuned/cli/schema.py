"""``netunedctl schema``: the JSON Schema of profiles, for editors and fleet tools."""

from __future__ import annotations

import argparse

from netuned.cli.text import print_json


def add_arguments(_: argparse.ArgumentParser) -> None:
    pass


def run(_: argparse.Namespace) -> int:
    from netuned.profile import json_schema

    print_json(json_schema())
    return 0
