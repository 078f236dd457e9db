"""`python -m aetia` is the command `aetia`."""

import sys

from aetia.cli.main import main

sys.exit(main())
