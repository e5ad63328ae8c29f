#!/usr/bin/env bash
# Checks what can be checked without changing anything: tools, account, and the configuration file.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

for tool in gcloud terraform python; do
  command -v "$tool" > /dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
gcloud projects describe "$PROJECT" --format='value(projectId)'
python - "$CONFIG" << 'EOF'
import sys
from pipelines.commands._config_file import read_config
from pipelines.commands._refresh_flags import build_parser
print(read_config(sys.argv[1], build_parser()))
EOF
[[ $(python -m pipelines.commands.template_metadata) == "$(< deploy/metadata.json)" ]] \
  || { echo "deploy/metadata.json is out of date: python -m pipelines.commands.template_metadata > deploy/metadata.json" >&2; exit 1; }
