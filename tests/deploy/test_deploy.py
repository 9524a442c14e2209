"""What is in `deploy/` is what its tools take, and says the same as the gateway."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from headrace.cli.serve import serve
from headrace.gateway.config import examine
from headrace.gateway.general import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
OPTIONS = {name for option in serve.params for name in option.opts}


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("number", range(6))
def test_kubernetes_takes_each_object(number: int) -> None:
    kubernetes_validate.validate(documents()[number], "1.33", strict=True)


def test_every_object_is_looked_at() -> None:
    assert len(documents()) == 6


def test_kubernetes_waits_for_calls_under_way() -> None:
    (pod,) = [
        one["spec"]["template"]["spec"] for one in documents() if one["kind"] == "Deployment" and one["metadata"]["name"] == "headrace"
    ]
    before = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before + Settings().drain
    assert {name: pod["containers"][0][name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")} == {
        "readinessProbe": "/health/readiness",
        "livenessProbe": "/health/liveliness",
    }


def test_the_configuration_for_kubernetes_is_one(tmp_path: Path) -> None:
    """But for its secrets, which are files there."""
    (text,) = [one["data"]["config.yaml"] for one in documents() if one["kind"] == "ConfigMap"]
    (tmp_path / "config.yaml").write_text(text)
    problems = examine(tmp_path / "config.yaml", {}).problems
    assert [problem.what.partition(": ")[2] for problem in problems] == [
        f"the file /run/secrets/headrace/{name} cannot be read (No such file or directory)" for name in ("master-key", "openai-key")
    ]


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    hadolint = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    assert hadolint is not None
    done = subprocess.run([hadolint, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_starts_what_is_here() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    gateway = services["headrace"]
    assert (DEPLOY / gateway["build"]["context"] / gateway["build"]["dockerfile"]).is_file()
    assert set(gateway["depends_on"]) <= set(services)
    assert {word for word in gateway["command"] if word.startswith("--")} <= OPTIONS
    assert float(gateway["stop_grace_period"].removesuffix("s")) > Settings().drain
    assert all(service.get("restart") and (service.get("image") or service.get("build")) for service in services.values())


def test_the_unit_starts_reloads_and_waits() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "headrace.service")
    assert {"Unit", "Service", "Install"} == set(unit.sections())
    service = unit["Service"]
    assert {word for word in service["ExecStart"].split() if word.startswith("--")} <= OPTIONS
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert float(service["TimeoutStopSec"]) > Settings().drain


def test_the_images_command_is_one_of_ours() -> None:
    (line,) = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT")]
    assert {word for word in yaml.safe_load(line.removeprefix("ENTRYPOINT ")) if word.startswith("--")} <= OPTIONS
