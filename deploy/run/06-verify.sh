#!/usr/bin/env bash
# Verifies what was published: every file of the current version against its checksum, and that it is from today.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

table=$(python -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["table"])' "$CONFIG")
python -m pipelines.commands.cli table list --table "$table"
python -m pipelines.commands.cli table verify --table "$table"
done_since=$(gcloud logging read "resource.type=\"dataflow_step\" \"nnn refresh done:\"" --project "$PROJECT" \
  --freshness 25h --limit 1 --format='value(timestamp)')
[[ -n $done_since ]] || { echo "no refresh has finished in 25 hours; see deploy/RUNBOOK.md" >&2; exit 1; }
echo "the last refresh finished at $done_since"
