# Two accounts: one runs jobs and touches data, the other may only start them.

resource "google_service_account" "worker" {
  account_id   = "nnn-refresh-worker"
  display_name = "Launcher and workers of the refresh"
}

resource "google_service_account" "scheduler" {
  account_id   = "nnn-refresh-scheduler"
  display_name = "Starts the refresh"
}

resource "google_project_iam_member" "worker" {
  project = var.project
  role    = "roles/dataflow.worker"
  member  = google_service_account.worker.member
}

# Table, artefacts and rejects are created and read, never overwritten or deleted: without the right to delete,
# Cloud Storage refuses to overwrite.
resource "google_storage_bucket_iam_member" "worker" {
  for_each = toset(["roles/storage.objectViewer", "roles/storage.objectCreator"])

  bucket = google_storage_bucket.refresh.name
  role   = each.key
  member = google_service_account.worker.member
}

# Dataflow rewrites and deletes what it stages.
resource "google_storage_bucket_iam_member" "staging" {
  bucket = google_storage_bucket.refresh.name
  role   = "roles/storage.objectUser"
  member = google_service_account.worker.member

  condition {
    title      = "staging-only"
    expression = "resource.name.startsWith('projects/_/buckets/${var.bucket}/objects/dataflow/')"
  }
}

resource "google_storage_bucket_iam_member" "input" {
  for_each = var.input_buckets

  bucket = each.key
  role   = "roles/storage.objectViewer"
  member = google_service_account.worker.member
}

resource "google_artifact_registry_repository_iam_member" "worker" {
  location   = google_artifact_registry_repository.nnn.location
  repository = google_artifact_registry_repository.nnn.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

resource "google_project_iam_custom_role" "launcher" {
  role_id     = "nnnRefreshLauncher"
  title       = "Starts jobs of Dataflow"
  permissions = ["dataflow.jobs.create", "dataflow.jobs.get"]
}

resource "google_project_iam_member" "scheduler" {
  project = var.project
  role    = google_project_iam_custom_role.launcher.id
  member  = google_service_account.scheduler.member
}

resource "google_service_account_iam_member" "scheduler" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.scheduler.member
}

resource "google_storage_bucket_iam_member" "scheduler" {
  bucket = google_storage_bucket.refresh.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.scheduler.member

  condition {
    title      = "templates-only"
    expression = "resource.name.startsWith('projects/_/buckets/${var.bucket}/objects/templates/')"
  }
}
