"""``python -m spannorm_theory`` is the ``spannorm`` command, for launchers that take a module."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
