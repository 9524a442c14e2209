"""`headrace serve`, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.serve import _settings
from headrace.gateway.config import Config

HERE = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "EMBEDDING_", "HEADRACE_"))}


def config(upstream: object, **general: Any) -> dict[str, Any]:
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    return {"model_list": [{"model_name": "gpt", "litellm_params": params}], "general_settings": general}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "headrace", "serve", "--port", "0", *arguments]
    return subprocess.Popen(command, cwd=folder, env=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_configuration_is_served_and_ctrl_c_ends_it(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config(upstream, master_key="sk-master")))
    with start(tmp_path, "--config", "config.json") as program:
        assert program.stdout is not None
        address = program.stdout.readline().strip().rpartition(" ")[2]
        asked = urllib.request.Request(f"{address}/v1/models", headers={"authorization": "Bearer sk-master"})
        with urllib.request.urlopen(asked) as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == ["gpt"]
        with urllib.request.urlopen(f"{address}/health/readiness") as answer:
            assert json.load(answer) == {"status": "ready"}
        program.send_signal(2)
        assert program.wait(10) in (0, 130, -2)


def test_no_address_is_told_where_no_worker_can_open_the_database(tmp_path: Path, upstream: object) -> None:
    """It was told before any of them had tried, and then others were begun for ever."""
    (tmp_path / "kept.db").write_text("this is no database, however long one looks at it")
    (tmp_path / "config.json").write_text(json.dumps(config(upstream, database_url=f"sqlite:///{tmp_path}/kept.db")))
    with start(tmp_path, "--config", "config.json", "--workers", "2") as program:
        told, said = program.communicate(timeout=50)
    assert (program.returncode, told) == (2, "")
    assert "kept.db cannot be opened: file is not a database" in said
    assert "Traceback" not in said


def test_other_machines_are_not_listened_to_without_a_key(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config(upstream)))
    with start(tmp_path, "--config", "config.json", "--host", "0.0.0.0") as program:
        said = program.communicate(timeout=20)[1]
    assert program.returncode != 0
    assert "master" in said


def test_a_certificate_without_its_key_is_refused_before_an_address_is_told(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config(upstream)))
    (tmp_path / "server.pem").write_text("no certificate")
    with start(tmp_path, "--config", "config.json", "--tls-cert", "server.pem") as program:
        told, said = program.communicate(timeout=20)
    assert (program.returncode != 0, told) == (True, "")
    assert "server.pem must be a certificate in PEM and server.pem itself, as there is no --tls-key, its key" in said


def test_a_worker_that_begins_slowly_is_waited_for() -> None:
    """On a busy machine SIGHUP had replaced no worker: uvicorn waits five seconds."""
    tls = dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca"))
    assert _settings("headrace.gateway.worker:app", Config([]), tls, 2).timeout_worker_healthcheck >= 30


@pytest.mark.parametrize("text", ["{", '{"model_list": []}'])
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with start(tmp_path, "--config", "config.json") as program:
        said = program.communicate(timeout=20)[1]
    assert program.returncode != 0
    assert "Traceback" not in said
