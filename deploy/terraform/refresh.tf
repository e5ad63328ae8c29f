# The Flex Template and what launches it every day. Both need an image, so the first apply, before the first build,
# makes neither.

locals {
  built     = var.image != ""
  scheduled = local.built && var.schedule != ""
  staging   = "gs://${google_storage_bucket.refresh.name}/dataflow"
  # Every worker gets it; to give it to the stages that use one only, leave this empty and set the job's own hints.
  accelerators = var.accelerator == "" ? [] : ["worker_accelerator=${var.accelerator}"]

  launch = {
    launchParameter = {
      # Dataflow refuses a second job of this name while the first one runs.
      jobName              = "nnn-refresh"
      containerSpecGcsPath = "gs://${google_storage_bucket.refresh.name}/${local.template}"
      parameters           = { config = "gs://${google_storage_bucket.refresh.name}/${google_storage_bucket_object.config.name}" }
      environment = {
        serviceAccountEmail   = google_service_account.worker.email
        tempLocation          = "${local.staging}/temp"
        stagingLocation       = "${local.staging}/staging"
        sdkContainerImage     = var.image
        machineType           = var.machine_type
        maxWorkers            = var.max_workers
        additionalExperiments = local.accelerators
        additionalUserLabels  = { app = "nnn-refresh" }
      }
    }
  }

  template = "templates/nnn-refresh.json"
}

resource "google_storage_bucket_object" "template" {
  count = local.built ? 1 : 0

  bucket       = google_storage_bucket.refresh.name
  name         = local.template
  content_type = "application/json"
  content = jsonencode({
    image    = var.image
    sdkInfo  = { language = "PYTHON" }
    metadata = jsondecode(file("${path.module}/../metadata.json"))
    defaultEnvironment = {
      sdkContainerImage = var.image
    }
  })
}

resource "google_cloud_scheduler_job" "refresh" {
  count = local.scheduled ? 1 : 0

  name             = "nnn-refresh"
  description      = "Refresh of the bias table"
  region           = var.region
  schedule         = var.schedule
  time_zone        = var.time_zone
  attempt_deadline = "180s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://dataflow.googleapis.com/v1b3/projects/${var.project}/locations/${var.region}/flexTemplates:launch"
    body        = base64encode(jsonencode(local.launch))
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = google_service_account.scheduler.email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }

  depends_on = [google_project_service.used, google_storage_bucket_object.template]
}
