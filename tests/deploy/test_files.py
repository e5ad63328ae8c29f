"""The files that only a cloud runs: they parse, agree with each other, and ask for no more than they need."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import hcl2
import pytest
import setuptools
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

dataflow = pytest.importorskip("google.cloud.dataflow")

DEPLOY = Path(__file__).parents[2] / "deploy"
BIN = Path(sys.executable).parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
TERRAFORM = {path.name: path.read_text() for path in sorted((DEPLOY / "terraform").glob("*.tf"))}
LOCKS = ("requirements.txt", "requirements-torch.txt")
SCRIPTS = sorted((DEPLOY / "run").glob("*.sh"))


def tool(name: str) -> str:
    """A linter of this environment, or of the machine."""
    found = str(BIN / name) if (BIN / name).exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def passes(*command: str) -> None:
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_passes_hadolint() -> None:
    passes(tool("hadolint"), "Dockerfile")


def argument(name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", DOCKERFILE, re.M)
    assert found, f"the Dockerfile has no ARG {name}"
    return found[1]


def pins(name: str) -> dict[str, str]:
    """Version by name of a file of exact versions, whose further lines are comments and hashes."""
    lines = (DEPLOY / name).read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)(?: \\)?", line) for line in lines if not re.match(r"#|\s", line)]
    assert all(found), "a version is not exact"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_base_images_are_named_by_digest() -> None:
    digest = r"@sha256:[0-9a-f]{64}"
    assert re.fullmatch(rf"python:3\.11-slim-bookworm{digest}", argument("PYTHON"))
    assert re.fullmatch(rf"\S+/python311-template-launcher-base{digest}", argument("LAUNCHER"))
    # Of Beam's, which is as good as its tag, at least the release.
    beam = pins("constraints.txt")["apache-beam"]
    assert re.fullmatch(rf"apache/beam_python3\.11_sdk:{re.escape(beam)}({digest})?", argument("BEAM"))
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {
        "${PYTHON}",
        "${BEAM}",
        "${LAUNCHER}",
        "base-${VARIANT}",
    }


def test_the_image_installs_what_has_hashes() -> None:
    installs = re.findall(r"pip install (.*)", DOCKERFILE)
    assert [arguments.replace(" \\", "") for arguments in installs] == [
        "--no-deps ${TORCH}",
        "--no-deps --require-hashes --requirement deploy/requirements.txt",
        "--no-deps --no-build-isolation . && pip check && rm -r nnn_core pipelines build",
    ]
    known = pins("constraints.txt")
    for name in LOCKS:
        # Each requirement is followed by its hashes, a line each.
        blocks = re.split(r"^(?=\w)", (DEPLOY / name).read_text(), flags=re.M)[1:]
        hashes = r"( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
        assert all(re.fullmatch(rf"[\w.-]+==[\w.+!-]+{hashes}", block) for block in blocks)
        assert pins(name).items() <= known.items(), "deploy/lock.py was not run after constraints.txt was changed"


def test_the_lock_holds_what_setup_asks_for() -> None:
    with mock.patch.object(setuptools, "setup") as setup:
        runpy.run_path(str(DEPLOY.parent / "setup.py"))
    asked = setup.call_args.kwargs
    extras = asked["extras_require"]
    locked = pins(LOCKS[0]) | pins(LOCKS[1])
    for each in map(Requirement, [*asked["install_requires"], *extras["clip"], *extras["gcp"], *extras["s3"]]):
        assert each.specifier.contains(locked[canonicalize_name(each.name)]), each
    assert not pins(LOCKS[0]).keys() & pins(LOCKS[1]).keys()
    assert {"torch", "torchvision"} <= pins(LOCKS[1]).keys()
    assert "setuptools" in locked, "it builds the program in the image"


def test_terraform_has_the_provider_of_its_lock_file() -> None:
    (provider,) = hcl2.loads((DEPLOY / "terraform" / ".terraform.lock.hcl").read_text())["provider"]
    ((name, lock),) = provider.items()
    assert name.strip('"') == "registry.terraform.io/hashicorp/google"
    wanted = re.search(r'version = "([^"]+)"', TERRAFORM["versions.tf"])
    assert wanted
    assert SpecifierSet(wanted[1]).contains(lock["version"].strip('"'))
    assert len(lock["hashes"]) == 12


def test_the_image_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)
    assert users[-1] == "${RUN_AS}"
    assert argument("RUN_AS") == "nnn"
    assert "useradd --uid 10001 --create-home nnn" in DOCKERFILE


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    sent = {
        line.removeprefix("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"
    }
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for name in line.split()[:-1]}
    assert copied - {"nnn_core/__init__.py"} == sent
    assert all((DEPLOY.parent / name).exists() for name in copied)


def test_cloud_build_knows_its_substitutions() -> None:
    text = (DEPLOY / "cloudbuild.yaml").read_text()
    build: dict[str, Any] = yaml.safe_load(text)
    used = set(re.findall(r"\$\{(_[A-Z]+)\}", text))
    assert used == set(build["substitutions"])
    given = set(re.findall(r"(_[A-Z]+)=", (DEPLOY / "run" / "03-build.sh").read_text()))
    assert given <= used
    arguments = re.findall(r'--build-arg "([A-Z]+)=', text)
    assert arguments
    assert all(re.search(rf"^ARG {name}=", DOCKERFILE, re.M) for name in arguments)


@pytest.mark.parametrize("name", TERRAFORM)
def test_terraform_parses(name: str) -> None:
    assert hcl2.loads(TERRAFORM[name])


def test_terraform_is_formatted() -> None:
    passes(tool("terraform"), "fmt", "-check", "-recursive", "terraform")


def test_terraform_refers_to_what_it_declares() -> None:
    text = "\n".join(re.sub(r"(?m)^\s*#.*$", "", each) for each in TERRAFORM.values())
    variables = set(re.findall(r'^variable "(\w+)"', text, re.M))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    declared = {f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.M)}
    used = {f"{kind}.{name}" for kind, name in re.findall(r"\b(google_\w+)\.(\w+)", text)}
    assert used <= declared
    blocks = re.findall(r"^locals \{\n(.*?)^\}", text, re.M | re.S)
    known = set(re.findall(r"^  (\w+) +=", "\n".join(blocks), re.M))
    assert set(re.findall(r"\blocal\.(\w+)", text)) == known
    scripts = "\n".join(path.read_text() for path in SCRIPTS)
    assert set(re.findall(r"TF_VAR_(\w+)=", scripts)) <= variables


def test_accounts_have_no_broad_role() -> None:
    roles = set(re.findall(r'"(roles/[\w.]+)"', TERRAFORM["accounts.tf"]))
    assert roles == {
        "roles/dataflow.worker",
        "roles/storage.objectViewer",
        "roles/storage.objectCreator",
        "roles/storage.objectUser",
        "roles/artifactregistry.reader",
        "roles/iam.serviceAccountUser",
    }
    # Who may delete objects may overwrite them: below dataflow/ only.
    (block,) = re.findall(
        r'^resource "[^\n]*\{\n(?:(?!^\}).)*storage\.objectUser.*?^\}', TERRAFORM["accounts.tf"], re.M | re.S
    )
    assert "/objects/dataflow/" in block


def keys_of(text: str) -> set[str]:
    return set(re.findall(r'^\s+"?(\w+)"?\s*[=:]', text, re.M))


def test_the_launch_request_is_one_that_dataflow_takes() -> None:
    (request,) = re.findall(r"launchParameter = \{\n(.*?)^    \}", TERRAFORM["refresh.tf"], re.M | re.S)
    (environment,) = re.findall(r"environment = \{\n(.*?)^      \}", request, re.M | re.S)
    outer = keys_of(request.replace(environment, ""))
    dataflow.LaunchFlexTemplateParameter.from_json(json.dumps(dict.fromkeys(outer)), ignore_unknown_fields=False)
    inner = keys_of(environment)
    assert {"serviceAccountEmail", "sdkContainerImage", "tempLocation", "stagingLocation"} <= inner
    dataflow.FlexTemplateRuntimeEnvironment.from_json(json.dumps(dict.fromkeys(inner)), ignore_unknown_fields=False)


def test_scripts_pass_shellcheck() -> None:
    passes(tool("shellcheck"), "-x", "-P", "SCRIPTDIR", *map(str, SCRIPTS))


def test_scripts_are_numbered_and_end_with_a_verification() -> None:
    numbered = [path.name for path in SCRIPTS if path.name != "settings.sh"]
    assert [name[:3] for name in numbered] == [f"{number:02d}-" for number in range(1, len(numbered) + 1)]
    assert numbered[-1].endswith("-verify.sh")
    assert all((DEPLOY / "run" / name).stat().st_mode & 0o111 for name in numbered)


def test_a_script_says_what_it_lacks() -> None:
    done = subprocess.run(
        [str(DEPLOY / "run" / "01-check.sh")], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode
    assert "PROJECT: the project of Google Cloud" in done.stderr


#: What stands for each tool: it notes the arguments that every user of a machine can see.
TOOLS = {
    "gcloud": """case "$*" in *print-access-token*) echo CANARY ;; *describe*) echo JOB_STATE_DONE ;; esac""",
    "terraform": """echo '{"launchParameter": {"parameters": {}}}'""",
    "curl": """while [[ $1 != --config ]]; do shift; done; cat "$2" >> sent; echo '{"job": {"id": "1"}}'""",
}


def test_a_token_is_on_no_command_line(tmp_path: Path) -> None:
    for name, act in TOOLS.items():
        path = tmp_path / name
        path.write_text(f'#!/usr/bin/env bash\ncd {tmp_path}\necho "{name} $*" >> seen\n{act}\n')
        path.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PROJECT": "p", "BUCKET": "b", "CONFIG": "deploy/refresh.yaml"}
    script = str(DEPLOY / "run" / "05-refresh.sh")
    done = subprocess.run([script, "k=64"], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 is done" in done.stdout
    seen = (tmp_path / "seen").read_text()
    assert '"k": "64"' in seen
    assert "CANARY" not in seen + done.stdout + done.stderr
    assert (tmp_path / "sent").read_text() == 'header = "Authorization: Bearer CANARY"\n'


def test_alerts_and_pages_refer_to_the_runbook() -> None:
    titles = set(re.findall(r"^## (.+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.M))
    named = set(re.findall(r"RUNBOOK\.md, '([^']+)'", TERRAFORM["alerts.tf"]))
    assert len(named) == 3
    assert named <= titles
