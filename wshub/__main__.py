"""``python -m wshub``: the same as the command ``wshub``."""

import sys

from wshub.cli import main

if __name__ == "__main__":
    sys.exit(main())
