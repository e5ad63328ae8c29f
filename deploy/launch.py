"""What the launcher of the Flex Template runs. It takes a file, not a module."""

import sys

from pipelines.commands.cli import run_command
from pipelines.commands.launch_refresh import main

sys.exit(run_command(main, sys.argv[1:], for_good=True))
