"""What a bias table needs besides its refresh, under Airflow or Cloud Composer.

``nnn_register`` makes each new version readable as a Delta table; it runs when the asset of the table changes.
``nnn_upkeep`` removes old versions once a week, and then the artefacts that no version needs any more. Both may run
beside a refresh.

It needs ``apache-airflow-providers-standard``, and the program itself: Airflow and Beam pin each other's dependencies
apart, so it is installed into an environment of its own (``pip install '.[gcp,delta]'``).

The URI of the table is in the environment, ``AIRFLOW_VAR_NNN_TABLE``: the asset has to be known when this file is read.
Variables of Airflow, read when a task runs: ``nnn_work`` (URI of the folder of artefacts) and, if the program is not on
the path, ``nnn_command`` (such as ``/opt/nnn/bin/nnn``, or ``docker run --rm --entrypoint nnn IMAGE``).
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset

TABLE = Asset(os.environ.get("AIRFLOW_VAR_NNN_TABLE", "gs://example-bias/table"))

#: The words of the shell; values come as environment variables, so that none of them is a command.
REGISTER = '$NNN table register --table "$TABLE" --format delta'
EXPIRE = '$NNN table expire --table "$TABLE" --keep 14 --older-than 30d --yes'
COLLECT = '$NNN work gc --work "$WORK" --table "$TABLE" --yes'

SETTINGS = {
    "env": {
        "NNN": "{{ var.value.get('nnn_command', 'nnn') }}",
        "TABLE": "{{ var.value.get('nnn_table', 'gs://example-bias/table') }}",
        "WORK": "{{ var.value.nnn_work }}",
    },
    "append_env": True,
    "retries": 2,
    "retry_delay": timedelta(minutes=15),
    "execution_timeout": timedelta(hours=2),
}

with DAG(
    dag_id="nnn_register",
    description="Make each new version of the bias table readable as a Delta table",
    schedule=[TABLE],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["nnn"],
    doc_md=__doc__,
) as register:
    BashOperator(task_id="register", bash_command=REGISTER, **SETTINGS)

with DAG(
    dag_id="nnn_upkeep",
    description="Remove old versions of the bias table, and artefacts that no version needs",
    schedule="0 5 * * 0",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["nnn"],
    doc_md=__doc__,
) as upkeep:
    expire = BashOperator(task_id="expire", bash_command=EXPIRE, **SETTINGS)
    expire >> BashOperator(task_id="collect", bash_command=COLLECT, **SETTINGS)
