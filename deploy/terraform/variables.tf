variable "project" {
  description = "Project of all that is made here."
  type        = string
}

variable "region" {
  description = "Region of bucket, image and jobs. Data that crosses regions costs money and time."
  type        = string
  default     = "us-central1"
}

variable "bucket" {
  description = "Name of the bucket of table, artefacts, template and configuration; names are unique in the world."
  type        = string
}

variable "input_buckets" {
  description = "Buckets of candidates and references that the job reads."
  type        = set(string)
  default     = []
}

variable "image" {
  description = "Image of deploy/cloudbuild.yaml, by digest or by a tag that is never reused. Empty until the first build."
  type        = string
  default     = ""
}

variable "config" {
  description = "Path of the configuration file on this machine, which is uploaded."
  type        = string
  default     = "../refresh.yaml"
}

variable "schedule" {
  description = "When to refresh, as cron says it. Empty for none, where Airflow schedules."
  type        = string
  default     = "0 3 * * *"
}

variable "time_zone" {
  description = "Of the schedule."
  type        = string
  default     = "Etc/UTC"
}

variable "max_workers" {
  description = "Machines that a job may use at most."
  type        = number
  default     = 20
}

variable "machine_type" {
  description = "Machine of a worker."
  type        = string
  default     = "n2-standard-8"
}

variable "accelerator" {
  description = "Accelerator of every worker, for the GPU image, such as type:nvidia-l4;count:1;install-nvidia-driver. Empty for none."
  type        = string
  default     = ""
}

variable "alert_emails" {
  description = "Who is told that a refresh was missed, refused or failed."
  type        = set(string)
  default     = []
}
