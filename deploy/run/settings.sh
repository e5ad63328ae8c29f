# What the scripts of this folder share; they source it. Set these in the environment, or in deploy/run/local.sh,
# which is not committed.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck disable=SC1091
[[ ! -f deploy/run/local.sh ]] || source deploy/run/local.sh

: "${PROJECT:?the project of Google Cloud}"
: "${BUCKET:?name of the bucket of table, artefacts, template and configuration}"
: "${CONFIG:?path of the configuration file, such as deploy/refresh.yaml}"
: "${REGION:=us-central1}"
: "${VARIANT:=cpu}"   # or gpu
: "${ENCODER:=}"      # as the configuration says it; empty where all input holds vectors
: "${IMAGE_FILE:=deploy/run/image.txt}"  # where 03-build.sh leaves the image's name

CONFIG=$(realpath "$CONFIG")
IMAGE=""
[[ ! -f $IMAGE_FILE ]] || IMAGE=$(< "$IMAGE_FILE")

terraform_in_deploy() {
  TF_VAR_project=$PROJECT TF_VAR_region=$REGION TF_VAR_bucket=$BUCKET TF_VAR_config=$CONFIG TF_VAR_image=$IMAGE \
    terraform -chdir=deploy/terraform "$@"
}
