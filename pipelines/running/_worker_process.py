"""A worker process of the local runner: Beam's own, with the log of the process that started it.

Beam's starts with a root logger of its own making, which writes a page of what it does to standard error, between the
bars that show progress; what options the user gave is not told to it.
"""

from __future__ import annotations

import sys

from apache_beam.runners.worker import sdk_worker_main

from pipelines.running._local_processes import register_worker
from pipelines.running.logs import inherit_logging

if __name__ == "__main__":
    inherit_logging()
    register_worker()
    sdk_worker_main.main(sys.argv)
