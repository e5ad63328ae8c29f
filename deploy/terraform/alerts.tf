# Three alerts: a gate refused a version, a job failed, and no refresh has finished in 25 hours, whatever the reason
# (25 hours are the longest that Cloud Monitoring looks back, an hour more than the schedule's period).

locals {
  jobs = "resource.type=\"dataflow_step\" resource.labels.job_name=\"nnn-refresh\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  display_name = "nnn-refresh ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_logging_metric" "done" {
  name        = "nnn_refresh_done"
  description = "Refreshes that finished, with a new version or without a change"
  filter      = "${local.jobs} \"nnn refresh done:\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_monitoring_alert_policy" "missed" {
  display_name          = "nnn-refresh: none has finished in 25 hours"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "no refresh done"

    condition_threshold {
      filter                  = "resource.type=\"dataflow_job\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.done.name}\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "300s"
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"

      aggregations {
        alignment_period     = "90000s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = "See deploy/RUNBOOK.md, 'A refresh was missed'."
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "refused" {
  display_name          = "nnn-refresh: a gate refused the new version"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "gate failed"

    condition_matched_log {
      filter = "${local.jobs} \"nnn_core.errors.GateError\""
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = "The table is as it was. See deploy/RUNBOOK.md, 'A gate failed'."
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "failed" {
  display_name          = "nnn-refresh: a job failed"
  combiner              = "OR"
  notification_channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  conditions {
    display_name = "job failed"

    condition_matched_log {
      filter = "${local.jobs} log_id(\"dataflow.googleapis.com/job-message\") severity>=ERROR \"Workflow failed\""
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content   = "The table is as it was, and finished work is kept. See deploy/RUNBOOK.md, 'A job failed'."
    mime_type = "text/markdown"
  }
}
