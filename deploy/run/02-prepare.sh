#!/usr/bin/env bash
# Makes the bucket, the accounts and the repository of images. Without an image there is no template and no schedule.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

terraform_in_deploy init
terraform_in_deploy apply
