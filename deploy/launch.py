"""What the launcher of the Flex Template runs. It takes a file, not a module."""

import sys

from pipelines.cli import run_command
from pipelines.launch_refresh import main

sys.exit(run_command(main, sys.argv[1:]))
