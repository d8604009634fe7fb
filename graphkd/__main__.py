"""`python -m graphkd` is the command line."""

import sys

from graphkd.cli import main

sys.exit(main())
