"""`python -m tui.cli`: the `tocsin` command where its script is not on the path."""

from __future__ import annotations

import sys

from tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
