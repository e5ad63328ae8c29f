#!/usr/bin/env bash
# Builds, checks and pushes the image; its name is left in $IMAGE_FILE, by digest.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

tag=$(date -u +%Y%m%d-%H%M%S)
image=$REGION-docker.pkg.dev/$PROJECT/nnn/refresh-$VARIANT
gcloud builds submit --project "$PROJECT" --config deploy/cloudbuild.yaml \
  --substitutions "_REGION=$REGION,_VARIANT=$VARIANT,_ENCODER=$ENCODER,_TAG=$tag" .
digest=$(gcloud artifacts docker images describe "$image:$tag" --project "$PROJECT" --format='value(image_summary.digest)')
echo "$image@$digest" | tee "$IMAGE_FILE"
