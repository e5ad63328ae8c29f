output "template" {
  description = "URI of the Flex Template's specification, Airflow's nnn_template."
  value       = "gs://${google_storage_bucket.refresh.name}/${local.template}"
}

output "config" {
  description = "URI of the configuration file, Airflow's nnn_config."
  value       = "gs://${google_storage_bucket.refresh.name}/${google_storage_bucket_object.config.name}"
}

output "worker_account" {
  description = "Account of the jobs, Airflow's nnn_worker_account."
  value       = google_service_account.worker.email
}

output "repository" {
  description = "Where images go."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.nnn.repository_id}"
}

output "launch" {
  description = "The request that starts a refresh."
  value       = jsonencode(local.launch)
}
