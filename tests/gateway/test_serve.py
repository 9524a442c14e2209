"""The command `headrace serve`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.serve import _settings
from headrace.gateway.config import Config
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import running

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


def said_by(folder: Path, *arguments: str, **environment: str) -> list[str]:
    """The lines of a start that comes to nothing."""
    command = [sys.executable, "-m", "headrace", "serve", "--port", "0", *arguments]
    done = subprocess.run(command, cwd=folder, env={**HERE, **environment}, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_each_mistake_of_a_configuration_has_a_line_of_its_own(tmp_path: Path, upstream: object) -> None:
    """They stood in one line, in which nobody finds the third."""
    wrong = {**config(upstream, max_body="lots", drain="long"), "router_settings": {"num_retires": 3}}
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    first, *mistakes = said_by(tmp_path, "--config", "config.json")
    assert "3 mistakes" in first
    assert len(mistakes) == 3
    assert all(one.startswith("- ") for one in mistakes)


def test_who_starts_with_nothing_is_told_both_ways(tmp_path: Path) -> None:
    _, *ways = said_by(tmp_path)
    assert [name for name in ("LLM_PROVIDER=", "LLM_MODEL=", "--config FILE") if any(name in way for way in ways)] == [
        "LLM_PROVIDER=", "LLM_MODEL=", "--config FILE",
    ]  # fmt: skip


def test_a_port_that_is_taken_is_told_with_the_way_out(tmp_path: Path, upstream: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config(upstream)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (said,) = said_by(tmp_path, "--config", "config.json", "--port", str(taken.getsockname()[1]))
    assert "Address already in use. Stop the program that listens there, or choose another port with --port" in said


@pytest.mark.parametrize(
    ("database", "remedy"),
    [
        ("sqlite:////dev/null/x.db", "choose another with HEADRACE_STATE or DATABASE_URL"),
        ("sqlite:///config.json", "choose another file with DATABASE_URL"),
        ("postgresql://u:secretpw@127.0.0.1:1/x", "Start it, or correct DATABASE_URL"),
    ],
)
def test_a_database_that_is_not_to_be_had_is_told_with_what_to_do(tmp_path: Path, upstream: object, database: str, remedy: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config(upstream)))
    (said,) = said_by(tmp_path, "--config", "config.json", DATABASE_URL=database)
    assert remedy in said
    assert "secretpw" not in said


def test_a_key_that_a_provider_refuses_is_told_to_the_operator_and_not_with_every_call(tmp_path: Path) -> None:
    """Only callers heard of it, who cannot mend it and look for a mistake of their own."""
    provider = ProviderConfig(name="strict", api_keys=("sk-right",))
    with running(SimulatorConfig(port=0, providers=(provider,))) as upstream:
        params = {"model": "openai/gpt-sim", "api_key": "sk-wrong-4321", "base_url": f"{upstream}/strict/v1"}
        settings = {"model_list": [{"model_name": "chat", "litellm_params": params}], "general_settings": {"master_key": "sk-master"}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with start(tmp_path, "--config", "config.json") as program:
            assert program.stdout is not None
            address = program.stdout.readline().strip().rpartition(" ")[2]
            body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
            headers = {"authorization": "Bearer sk-master", "content-type": "application/json"}
            for _ in range(3):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(urllib.request.Request(f"{address}/v1/chat/completions", body, headers))
                refused.value.close()
            program.send_signal(2)
            said = program.communicate(timeout=20)[1]
    assert said.count("refuses the key of 'chat'") == 1
    assert "4321" not in said
