"""The DAG of Airflow: what it launches, checked without Airflow, and imported by it where it is installed.

Airflow and Beam pin each other's dependencies apart, so it lives in an environment of its own:
``NNN_AIRFLOW_PYTHON=/path/to/airflow/bin/python`` with apache-airflow and its google and apache-beam providers.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nnn_core.errors import InputError
from pipelines.commands import cli

dataflow = pytest.importorskip("google.cloud.dataflow")

DEPLOY = Path(__file__).parents[2] / "deploy"
DAG = DEPLOY / "airflow" / "refresh_dag.py"
UPKEEP = DEPLOY / "airflow" / "upkeep_dag.py"
TREE = ast.parse(DAG.read_text(), str(DAG))

#: What the operator takes, of apache-airflow-providers-google 22.8, and of the operators' base class.
OPERATOR = {"body", "location", "project_id", "gcp_conn_id", "drain_pipeline", "cancel_timeout", "wait_until_finished"}
OPERATOR |= {"impersonation_chain", "deferrable", "append_job_name", "expected_terminal_state", "poll_sleep"}
BASE = {"task_id", "retries", "retry_delay", "execution_timeout", "outlets"}

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
class Values:
    def __getattr__(self, name): return "of-" + name
    def get(self, name, default): return {"nnn_accelerator": sys.argv[2]}.get(name, default)
values = Values()
context = {"var": {"value": values}, "params": {"parameters": {"k": "64"}}}
body = task.render_template(task.body, context, NativeEnvironment())
print("RESULT " + json.dumps({
    "id": dag.dag_id, "catchup": dag.catchup, "runs": dag.max_active_runs, "kind": type(task).__name__, "body": body,
    "templated": "body" in task.template_fields, "outlets": [asset.uri for asset in task.outlets],
}))
"""


LOAD_UPKEEP = """
import json, sys, warnings
warnings.simplefilter("ignore")
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("upkeep_dag", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
found = {}
for dag in (module.register, module.upkeep):
    dag.validate()
    assets = [asset.uri for asset in dag.timetable.asset_condition.objects] if dag is module.register else []
    last = [task.task_id for task in dag.tasks if not task.downstream_task_ids]
    found[dag.dag_id] = {"tasks": [task.task_id for task in dag.tasks], "last": last, "assets": assets}
print("RESULT " + json.dumps(found))
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
    request["environment"] = {**request["environment"], "maxWorkers": 20, "additionalExperiments": []}
    message = dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(request), ignore_unknown_fields=False)
    assert message.environment.temp_location == "gs://{{ var.value.nnn_bucket }}/dataflow/temp"


def test_it_launches_what_terraform_launches() -> None:
    terraform = (DEPLOY / "terraform" / "refresh.tf").read_text()
    assert f'= "{launch()["jobName"]}"' in terraform
    ours = {*launch()["environment"]}
    (block,) = re.findall(r" environment = \{\n(.*?)\n {6}\}", terraform, re.DOTALL)
    # The image of the workers is that of the template.
    assert ours == {*re.findall(r"^ {8}(\w+) +=", block, re.MULTILINE)} - {"sdkContainerImage"}
    variables = (DEPLOY / "terraform" / "variables.tf").read_text()
    for name in ("machine_type", "max_workers"):
        (default,) = re.findall(rf'variable "{name}" .*?default +=\s*"?([\w-]+)', variables, re.DOTALL)
        assert re.search(rf"get\('nnn_{name}', '?{default}'?\)", DAG.read_text())


def upkeep_commands() -> dict[str, str]:
    """What the tasks of the other DAGs have a shell run, by name."""
    tree = ast.parse(UPKEEP.read_text(), str(UPKEEP))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    found = {ast.unparse(node.targets[0]): node.value for node in assigned}
    return {name: ast.literal_eval(found[name]) for name in ("REGISTER", "EXPIRE", "COLLECT")}


@pytest.mark.parametrize("name", ["REGISTER", "EXPIRE", "COLLECT"])
def test_upkeep_runs_commands_that_there_are(name: str, tmp_path: Path) -> None:
    """The shell passes each value on as one word, and the program knows the flags."""
    program = tmp_path / "words"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "NNN": str(program),
        "TABLE": f"{tmp_path}/a table",
        "WORK": f"{tmp_path}/w",
    }
    command = ["bash", "-c", upkeep_commands()[name]]
    words = subprocess.check_output(command, env=environment, text=True, timeout=60).splitlines()
    # There is no such table: the flags are right.
    assert cli.main(words) == InputError.exit_code, shlex.join(words)


def load(program: str, *arguments: str, folder: Path) -> dict[str, Any]:
    """What a program prints that runs where Airflow is installed."""
    python = os.environ.get("NNN_AIRFLOW_PYTHON")
    if not python:
        pytest.skip("NNN_AIRFLOW_PYTHON names no interpreter with Airflow")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "AIRFLOW_HOME": str(folder)}
    environment["AIRFLOW_VAR_NNN_TABLE"] = "gs://b/table"
    command = [python, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


@pytest.mark.slow
def test_airflow_imports_the_upkeep(tmp_path: Path) -> None:
    result = load(LOAD_UPKEEP, str(UPKEEP), folder=tmp_path)
    assert result["nnn_register"] == {"tasks": ["register"], "last": ["register"], "assets": ["gs://b/table"]}
    assert result["nnn_upkeep"] == {"tasks": ["expire", "collect"], "last": ["collect"], "assets": []}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accelerator", "experiments"), [("", []), ("type:t4", ["worker_accelerator=of-nnn_accelerator"])]
)
def test_airflow_imports_it(tmp_path: Path, accelerator: str, experiments: list[str]) -> None:
    result = load(LOAD, str(DAG), accelerator, folder=tmp_path)
    assert (result["id"], result["catchup"], result["runs"]) == ("nnn_refresh", False, 1)
    assert result["kind"] == "DataflowStartFlexTemplateOperator"
    assert result["templated"]
    request = result["body"]["launchParameter"]
    assert request["parameters"] == {"config": "of-nnn_config", "k": "64"}
    environment = request["environment"]
    assert (environment["machineType"], environment["maxWorkers"]) == ("n2-standard-8", 20)
    assert environment["additionalExperiments"] == experiments
    assert result["outlets"] == ["gs://b/table"]
    assert request["containerSpecGcsPath"] == "of-nnn_template"
    dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(request), ignore_unknown_fields=False)
