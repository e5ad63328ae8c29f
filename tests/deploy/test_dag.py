"""The DAG of Airflow: what it launches, checked without Airflow, and imported by it where it is installed.

Airflow and Beam pin each other's dependencies apart, so it lives in an environment of its own:
``NNN_AIRFLOW_PYTHON=/path/to/airflow/bin/python`` with apache-airflow and its google and apache-beam providers.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

dataflow = pytest.importorskip("google.cloud.dataflow")

DEPLOY = Path(__file__).parents[2] / "deploy"
DAG = DEPLOY / "airflow" / "refresh_dag.py"
TREE = ast.parse(DAG.read_text(), str(DAG))

#: What the operator takes, of apache-airflow-providers-google 22.8, and of the operators' base class.
OPERATOR = {"body", "location", "project_id", "gcp_conn_id", "drain_pipeline", "cancel_timeout", "wait_until_finished"}
OPERATOR |= {"impersonation_chain", "deferrable", "append_job_name", "expected_terminal_state", "poll_sleep"}
BASE = {"task_id", "retries", "retry_delay", "execution_timeout"}

LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("refresh_dag", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
dag, (task,) = module.dag, module.dag.tasks
dag.validate()
from jinja2.nativetypes import NativeEnvironment
values = type("Values", (), {"__getattr__": lambda self, name: "of-" + name})()
context = {"var": {"value": values}, "params": {"parameters": {"k": "64"}}}
body = task.render_template(task.body, context, NativeEnvironment())
print("RESULT " + json.dumps({
    "id": dag.dag_id, "catchup": dag.catchup, "runs": dag.max_active_runs, "kind": type(task).__name__, "body": body,
    "templated": "body" in task.template_fields,
}))
"""


def call(name: str) -> dict[str, ast.expr]:
    """The keyword arguments of the only call of ``name``."""
    (found,) = [node for node in ast.walk(TREE) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]
    return {keyword.arg: keyword.value for keyword in found.keywords if keyword.arg}


def launch() -> dict[str, Any]:
    (value,) = [
        node.value for node in TREE.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAUNCH"
    ]
    record: dict[str, Any] = ast.literal_eval(value)
    return record["launchParameter"]


def test_it_compiles() -> None:
    compile(DAG.read_text(), str(DAG), "exec")


def test_the_operator_knows_its_arguments() -> None:
    arguments = call("DataflowStartFlexTemplateOperator")
    assert arguments.keys() <= OPERATOR | BASE
    assert arguments.keys() >= {"task_id", "body", "location", "project_id", "retries", "execution_timeout"}
    assert ast.unparse(arguments["body"]) == "LAUNCH"


def test_runs_do_not_overlap_or_catch_up() -> None:
    arguments = call("DAG")
    assert ast.literal_eval(arguments["max_active_runs"]) == 1
    assert ast.literal_eval(arguments["catchup"]) is False
    assert ast.literal_eval(call("DataflowStartFlexTemplateOperator")["append_job_name"]) is False


def test_the_request_is_one_that_dataflow_takes() -> None:
    request = {**launch(), "parameters": {"config": "gs://b/refresh.yaml"}}
    message = dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(request), ignore_unknown_fields=False)
    assert message.environment.temp_location == "gs://{{ var.value.nnn_bucket }}/dataflow/temp"


def test_it_launches_what_terraform_launches() -> None:
    terraform = (DEPLOY / "terraform" / "refresh.tf").read_text()
    assert f'= "{launch()["jobName"]}"' in terraform
    assert all(name in terraform for name in ("config", *launch()["environment"]))


@pytest.mark.slow
def test_airflow_imports_it(tmp_path: Path) -> None:
    python = os.environ.get("NNN_AIRFLOW_PYTHON")
    if not python:
        pytest.skip("NNN_AIRFLOW_PYTHON names no interpreter with Airflow")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([python, "-c", LOAD, str(DAG)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(line.removeprefix("RESULT "))
    assert (result["id"], result["catchup"], result["runs"]) == ("nnn_refresh", False, 1)
    assert result["kind"] == "DataflowStartFlexTemplateOperator"
    assert result["templated"]
    request = result["body"]["launchParameter"]
    assert request["parameters"] == {"config": "of-nnn_config", "k": "64"}
    assert request["containerSpecGcsPath"] == "of-nnn_template"
    dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(request), ignore_unknown_fields=False)
