"""``netunedctl schema``: the JSON Schema of profiles, for editors and fleet tools."""

from __future__ import annotations

import argparse

from netuned.cli.text import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, as it does anyway")


def run(_: argparse.Namespace) -> int:
    from netuned.profiles.schema import json_schema

    print_json(json_schema())
    return 0
