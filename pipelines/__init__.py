"""The Beam side: thin transforms that wire nnn_core together, and the programs."""

import logging

# Importing Beam without its Google Cloud extra logs a warning about a BigQuery client that
# nothing here uses, through a handler that it installs on the root logger.
logging.getLogger().addFilter(lambda record: "apitools not found" not in record.getMessage())
