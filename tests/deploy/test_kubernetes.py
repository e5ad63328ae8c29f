"""The manifests for Kubernetes: valid by the published schemas, with few rights, and with flags that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.commands._beam_options import beam_options, option_name
from pipelines.commands._refresh_flags import build_parser

validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
MANIFESTS = [
    pytest.param(each, id=f"{path.stem}-{each['kind']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for each in yaml.safe_load_all(path.read_text())
]
#: Kinds of operators, whose schemas are not published with those of Kubernetes.
FOREIGN = {"FlinkDeployment"}


def containers(part: Any) -> list[dict[str, Any]]:
    """Every container in a manifest with a command of its own."""
    if isinstance(part, list):
        return [found for each in part for found in containers(each)]
    if not isinstance(part, dict):
        return []
    return ([part] if "image" in part and "name" in part else []) + containers(list(part.values()))


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_valid_by_the_schema(manifest: dict[str, Any]) -> None:
    if manifest["kind"] in FOREIGN:
        pytest.skip("the operator's schema is not at hand")
    validate.validate(manifest, validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_containers_are_bounded_and_gain_no_rights(manifest: dict[str, Any]) -> None:
    for container in containers(manifest):
        assert "memory" in container["resources"]["limits"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_commands_have_flags_that_exist(manifest: dict[str, Any]) -> None:
    ours, beams = build_parser()._option_string_actions, beam_options()
    for container in containers(manifest):
        command = container.get("command", [])
        if command[:2] == ["nnn", "refresh"]:
            flags = [flag for flag in command[2:] if flag.startswith("--")]
            assert flags
            assert all(flag.partition("=")[0] in ours or option_name(flag) in beams for flag in flags), flags
