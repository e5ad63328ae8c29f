#!/usr/bin/env bash
# Makes the template, the schedule and the alerts for the image that 03-build.sh built, and uploads the configuration.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[[ -n $IMAGE ]] || { echo "$IMAGE_FILE names no image; run 03-build.sh first" >&2; exit 1; }
terraform_in_deploy apply
