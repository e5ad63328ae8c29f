resource "google_project_service" "used" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "storage.googleapis.com",
  ])

  service            = each.key
  disable_on_destroy = false
}

resource "google_storage_bucket" "refresh" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Table and artefacts are never rewritten, so there are no versions to keep; a deletion can be undone for a week.
  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  # What Dataflow leaves. Table and artefacts have no rule: an age says nothing about whether they are needed.
  lifecycle_rule {
    condition {
      age            = 14
      matches_prefix = ["dataflow/"]
    }

    action {
      type = "Delete"
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_artifact_registry_repository" "nnn" {
  repository_id = "nnn"
  location      = var.region
  format        = "DOCKER"

  docker_config {
    immutable_tags = true
  }

  depends_on = [google_project_service.used]
}

resource "google_storage_bucket_object" "config" {
  bucket  = google_storage_bucket.refresh.name
  name    = "config/refresh.yaml"
  content = file(var.config)
}
