"""``python -m netuned.cli``."""

from netuned.cli.main import main

main()
