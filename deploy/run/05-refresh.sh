#!/usr/bin/env bash
# Starts a refresh now, as the schedule would, and waits for its end. Arguments are parameters: k=64 alpha=0.5
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

request=$(terraform_in_deploy output -raw launch)
request=$(python - "$request" "$@" << 'EOF'
import json, sys
request = json.loads(sys.argv[1])
request["launchParameter"]["parameters"].update(argument.split("=", 1) for argument in sys.argv[2:])
print(json.dumps(request))
EOF
)
# As a file of curl's: on its command line every user of the machine could read the token.
answer=$(curl --silent --show-error --fail-with-body --request POST \
  --config <(printf 'header = "Authorization: Bearer %s"\n' "$(gcloud auth print-access-token)") \
  --header 'Content-Type: application/json' \
  --data "$request" "https://dataflow.googleapis.com/v1b3/projects/$PROJECT/locations/$REGION/flexTemplates:launch")
job=$(python -c 'import json, sys; print(json.load(sys.stdin)["job"]["id"])' <<< "$answer")
echo "job $job: https://console.cloud.google.com/dataflow/jobs/$REGION/$job?project=$PROJECT"

while true; do
  state=$(gcloud dataflow jobs describe "$job" --project "$PROJECT" --region "$REGION" --format='value(currentState)')
  case $state in
    JOB_STATE_DONE) echo "$job is done"; exit 0 ;;
    JOB_STATE_FAILED | JOB_STATE_CANCELLED) echo "$state; deploy/RUNBOOK.md says what to do" >&2; exit 1 ;;
    *) sleep 30 ;;
  esac
done
