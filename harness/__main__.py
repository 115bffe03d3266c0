"""`python -m harness` is `harness`."""

import sys

from harness.cli.app import main

sys.exit(main())
