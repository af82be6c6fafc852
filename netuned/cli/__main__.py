"""``python -m netuned.cli``."""

import sys

from netuned.cli.main import main

sys.exit(main())
