"""The Beam side: thin transforms that wire nnn_core together, and the programs."""

import logging

#: What Beam warns of, through the root logger, when optional packages that nothing here uses are
#: not installed: its BigQuery client, and the model manager that would report memory use.
_OF_NO_CONCERN = ("apitools not found", "Resource module is not available")

logging.getLogger().addFilter(lambda record: not record.getMessage().startswith(_OF_NO_CONCERN))
