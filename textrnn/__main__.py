"""``python -m textrnn`` is the `textrnn` command."""

import sys

from textrnn.cli import main

sys.exit(main())
