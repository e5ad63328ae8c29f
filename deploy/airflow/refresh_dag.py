"""The daily refresh of the bias table under Airflow or Cloud Composer.

It launches the Flex Template and waits for the job. A retry continues where the last attempt stopped, and a refresh
that finds nothing changed publishes nothing, so running it once too often costs little. One run at a time: two would
compute the same, and only one of them could publish.

It needs ``apache-airflow-providers-google`` and, for it, ``apache-airflow-providers-apache-beam``.

Variables of Airflow, read when a task runs: ``nnn_project``, ``nnn_region``, ``nnn_bucket``, ``nnn_template`` (URI of
the template's specification), ``nnn_config`` (URI of the configuration file) and ``nnn_worker_account``. Optional
ones are those of deploy/terraform/variables.tf, with its defaults: ``nnn_machine_type``, ``nnn_max_workers`` and
``nnn_accelerator``, such as ``type:nvidia-l4;count:1;install-nvidia-driver``.

Whoever builds the index may wait for the asset of the table: ``schedule=[Asset("gs://.../table")]``. An asset has to be
known when this file is read, so its URI is in the environment: ``AIRFLOW_VAR_NNN_TABLE``. Trigger the DAG
with ``{"parameters": {...}}`` for other flags, as a backfill or a change of the model needs.

Use this or the Cloud Scheduler job of deploy/terraform, not both.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import DAG, Asset, Param

TABLE = Asset(os.environ.get("AIRFLOW_VAR_NNN_TABLE", "gs://example-bias/table"))

LAUNCH = {
    "launchParameter": {
        # Dataflow refuses a second job of this name while the first one runs.
        "jobName": "nnn-refresh",
        "containerSpecGcsPath": "{{ var.value.nnn_template }}",
        "parameters": "{{ dict({'config': var.value.nnn_config}, **params.parameters) }}",
        "environment": {
            "serviceAccountEmail": "{{ var.value.nnn_worker_account }}",
            "tempLocation": "gs://{{ var.value.nnn_bucket }}/dataflow/temp",
            "stagingLocation": "gs://{{ var.value.nnn_bucket }}/dataflow/staging",
            "machineType": "{{ var.value.get('nnn_machine_type', 'n2-standard-8') }}",
            "maxWorkers": "{{ var.value.get('nnn_max_workers', 20) | int }}",
            "additionalExperiments": "{{ var.value.get('nnn_accelerator', '') and "
            "['worker_accelerator=' ~ var.value.nnn_accelerator] or [] }}",
            "additionalUserLabels": {"app": "nnn-refresh"},
        },
    }
}

with DAG(
    dag_id="nnn_refresh",
    description="Compute the biases of the index and publish them as a new version",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    # A refresh computes what the input is now: catching up on days that were missed would compute the same again.
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    # The parameters of a launch are a mapping, not its text.
    render_template_as_native_obj=True,
    params={"parameters": Param({}, type="object", description="Flags of nnn refresh that override the file")},
    tags=["nnn"],
    doc_md=__doc__,
) as dag:
    DataflowStartFlexTemplateOperator(
        task_id="refresh",
        project_id="{{ var.value.nnn_project }}",
        location="{{ var.value.nnn_region }}",
        body=LAUNCH,
        outlets=[TABLE],
        append_job_name=False,
        # The triggerer waits, not a worker's slot; a run that is killed or out of time cancels its job.
        deferrable=True,
        retries=2,
        retry_delay=timedelta(minutes=15),
        execution_timeout=timedelta(hours=8),
    )
