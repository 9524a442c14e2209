"""What is to be sent: the forms a file of jobs may have, and loads in figures."""

from __future__ import annotations

import json
import statistics
from itertools import pairwise
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.planner import Burst, Job, Load, read_jobs
from headrace.routing.asking import DEFAULT_MAX_OUTPUT

MESSAGES = [{"role": "user", "content": "Tell me of mills."}]


def read(*rows: Any, **options: Any) -> list[Job]:
    return read_jobs([json.dumps(row) for row in rows], **options)


# ---- files


@pytest.mark.parametrize(
    ("row", "job"),
    [
        ({"model": "m", "input_tokens": 10, "output_tokens": 20}, Job(0.0, "m", 10, DEFAULT_MAX_OUTPUT, 20, stated=False)),
        ({"model": "m", "input_tokens": 10, "output_tokens": 20, "max_tokens": 50, "at": 3.5}, Job(3.5, "m", 10, 50, 20)),
        ({"model": "m", "input_tokens": 10, "tenant": "anna", "priority": 2}, Job(0.0, "m", 10, 1024, 300, "anna", 2, stated=False)),
        ({"model": "m", "input_tokens": 10, "max_tokens": 40}, Job(0.0, "m", 10, 40, 40)),
        ({"model": "m", "input_tokens": 10, "max_completion_tokens": 40, "n": 3}, Job(0.0, "m", 10, 120, 120)),
        ({"model": "m", "prompt": "x" * 398, "max_tokens": 9}, Job(0.0, "m", 101, 9, 9)),
        ({"model": "m", "input": "x" * 398}, Job(0.0, "m", 101, 0, 0)),
        ({"custom_id": "1", "url": "/v1/embeddings", "body": {"model": "m", "input": "x" * 398}}, Job(0.0, "m", 101, 0, 0)),
        (
            {"custom_id": "1", "url": "/v1/responses", "body": {"model": "m", "input": "x" * 398, "max_output_tokens": 7}},
            Job(0.0, "m", 101, 7, 7),
        ),
    ],
)
def test_a_line_of_any_form_is_read(row: dict[str, Any], job: Job) -> None:
    assert read(row) == [job]


def test_a_batch_line_is_sized_as_the_router_would_size_its_messages() -> None:
    (job,) = read({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": MESSAGES}})
    assert job.input == len(json.dumps(MESSAGES, separators=(",", ":"))) // 4 + 1


def test_tools_count_towards_the_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 4000}}
    bare, armed = read({"model": "m", "messages": MESSAGES}, {"model": "m", "messages": MESSAGES, "tools": [tool]})
    assert armed.input - bare.input > 1000


def test_jobs_come_in_the_order_of_their_moments() -> None:
    found = read(*({"model": "m", "input_tokens": 1, "at": at} for at in (5, 1, 3)))
    assert [job.at for job in found] == [1, 3, 5]


def test_a_model_for_all_lines_is_the_one_of_those_that_name_none() -> None:
    found = read({"input_tokens": 1}, {"input_tokens": 1, "model": "own"}, model="common")
    assert [job.model for job in found] == ["common", "own"]


def test_empty_lines_are_no_jobs() -> None:
    assert len(read_jobs(["", '{"model": "m", "input_tokens": 1}', "  \n"])) == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2: not JSON"),
        (b"\xff", "line 2: not JSON"),
        ("[]", "line 2: must be a JSON object"),
        ('{"input_tokens": 1}', "line 2: model is missing"),
        ('{"model": "m"}', "line 2: has no size"),
        ('{"model": "m", "body": 3}', "line 2: body must be an object"),
        ('{"model": "m", "input_tokens": -1}', "line 2: input_tokens must be a whole number"),
        ('{"model": "m", "input_tokens": "many"}', "line 2: input_tokens must be a whole number"),
        ('{"model": "m", "input_tokens": 1, "max_tokens": 1.5}', "line 2: max_tokens must be a whole number"),
        ('{"model": "m", "input_tokens": 1, "at": -3}', "line 2: at must be a number of seconds"),
        ('{"model": "m", "input_tokens": 1, "at": "noon"}', "line 2: at must be a number of seconds"),
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str | bytes, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_jobs(['{"model": "m", "input_tokens": 1}', line])


def test_many_bad_lines_are_counted() -> None:
    with pytest.raises(ConfigurationError, match=r"line 1: .*line 5: .*; and 3 more"):
        read_jobs(["{"] * 8)


def test_a_file_without_jobs_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no job"):
        read_jobs(["", "\n"])


# ---- figures


def test_a_load_has_the_rate_and_the_sizes_it_says() -> None:
    jobs = list(Load("m", rate=5, hours=1, input=1000, output=300))
    assert len(jobs) == pytest.approx(18_000, rel=0.03)
    assert statistics.mean(job.input for job in jobs) == pytest.approx(1000, rel=0.03)
    assert statistics.mean(job.output for job in jobs) == pytest.approx(300, rel=0.03)
    assert all(earlier.at <= later.at < 3600 for earlier, later in pairwise(jobs))
    assert {job.max_output for job in jobs} == {DEFAULT_MAX_OUTPUT}


def test_a_load_is_the_same_each_time_and_another_with_another_seed() -> None:
    load = Load("m", rate=1, hours=0.1)
    assert list(load) == list(load)
    assert list(load) != list(Load("m", rate=1, hours=0.1, seed=2))


def test_nothing_is_written_beyond_max_tokens() -> None:
    jobs = list(Load("m", rate=5, hours=0.1, output=300, max_tokens=320))
    assert max(job.output for job in jobs) == 320
    assert {job.max_output for job in jobs} == {320}


def test_alike_sizes_are_alike() -> None:
    assert {(job.input, job.output) for job in Load("m", rate=5, hours=0.1, sigma=0)} == {(1000, 300)}


def test_embeddings_write_nothing() -> None:
    assert {(job.output, job.max_output) for job in Load("m", rate=5, hours=0.1, output=0)} == {(0, 0)}


def test_bursts_come_on_top_and_again() -> None:
    jobs = list(Load("m", hours=1, bursts=(Burst(10, at=60), Burst(5, at=600, every=1200))))
    moments = [job.at for job in jobs]
    assert moments == [60.0] * 10 + [600.0] * 5 + [1800.0] * 5 + [3000.0] * 5


def test_tenants_have_their_parts() -> None:
    jobs = list(Load("m", rate=10, hours=0.5, tenants={"anna": 3, "ben": 1}))
    share = sum(job.tenant == "anna" for job in jobs) / len(jobs)
    assert share == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"rate": -1}, "rate must be"),
        ({"rate": float("nan")}, "rate must be"),
        ({}, "no calls"),
        ({"rate": 1, "hours": 0}, "hours must be"),
        ({"rate": 1, "input": 0}, "input must be"),
        ({"rate": 1, "output": -5}, "output must be"),
        ({"rate": 1, "sigma": -1}, "sigma must be"),
        ({"rate": 1, "max_tokens": 0}, "max_tokens must be"),
        ({"rate": 1, "tenants": {"anna": 0}}, "tenants"),
    ],
)
def test_a_load_that_cannot_be_is_told_by_its_field(figures: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Load("m", **figures)
