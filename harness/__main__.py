"""`python -m harness` is `harness`."""

import sys

from harness.cli.start import main

sys.exit(main())
