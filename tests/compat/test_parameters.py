"""Every parameter of litellm's functions (1.106.2) changes what is sent, does what it says here, or is refused by name.

The signatures were read with `inspect` on 2026-11-29. A parameter that is taken and changes nothing fails the table: the call with it
and the call without it must differ in what reaches the provider.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pydantic
import pytest
from tests.client.upstream import CHAT, Reply, Upstream, standing

import headrace
from headrace.compat.litellm import accept, stand_in
from headrace.layers import around

TESTS: Final = Path(__file__).parents[1]


class Person(pydantic.BaseModel):
    name: str


TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

VALUES: Final[Mapping[str, Any]] = {
    "temperature": 0.5, "top_p": 0.5, "n": 2, "stop": ["x"], "max_completion_tokens": 7, "max_tokens": 7, "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"}, "audio": {"voice": "alloy", "format": "wav"}, "presence_penalty": 0.5,
    "frequency_penalty": 0.5, "logit_bias": {"1": 1}, "user": "anna", "reasoning_effort": "low", "verbosity": "low",
    "response_format": Person, "seed": 1, "tools": [TOOL], "tool_choice": "none", "logprobs": True, "top_logprobs": 2,
    "parallel_tool_calls": False, "web_search_options": {}, "include_server_side_tool_invocations": True, "extra_headers": {"x-own": "1"},
    "safety_identifier": "s", "service_tier": "flex", "store": True, "prompt_cache_key": "k", "functions": [TOOL["function"]],
    "function_call": "none", "api_version": "2", "api_key": "sk-other", "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stream": True, "stream_options": {"include_usage": True}, "best_of": 2, "echo": True, "suffix": "end", "dimensions": 3,
    "encoding_format": "base64", "include": ["reasoning.encrypted_content"], "instructions": "be brief", "max_output_tokens": 99,
    "prompt": {"id": "p"}, "metadata": {"a": "b"}, "previous_response_id": "resp_1", "reasoning": {"effort": "low"}, "background": True,
    "text": {"format": {"type": "text"}}, "text_format": Person, "truncation": "auto", "extra_query": {"q": "1"}, "extra_body": {"own": 1},
    "top_n": 1, "rank_fields": ["text"], "return_documents": True, "max_chunks_per_doc": 3, "max_tokens_per_doc": 3, "quality": "high",
    "size": "256x256", "style": "vivid", "mask": b"mask", "language": "en", "timestamp_granularities": ["word"], "organization": "org-1",
    "project": "proj-1", "speed": 2.0, "headers": {"x-own": "1"}, "stop_sequences": ["x"], "system": "be brief", "top_k": 3,
    "container": {"id": "c"}, "config": {"temperature": 0.5}, "base_url": "other", "api_base": "other", "custom_llm_provider": "openrouter",
}  # fmt: skip
"""What each is given: none is what a provider has without."""

OWN_VALUES: Final[Mapping[tuple[str, str], Any]] = {
    ("text_completion", "logprobs"): 2, ("image_generation", "response_format"): "b64_json", ("image_edit", "response_format"): "b64_json",
    ("transcription", "response_format"): "verbose_json", ("speech", "response_format"): "wav", ("transcription", "prompt"): "Names: Anna",
    ("generate_content", "tools"): [{"functionDeclarations": [{"name": "f"}]}], ("anthropic_messages", "metadata"): {"user_id": "anna"},
    ("anthropic_messages", "tools"): [{"name": "f", "input_schema": {"type": "object"}}],
    ("anthropic_messages", "tool_choice"): {"type": "none"}, ("responses", "tools"): [{"type": "web_search"}],
}  # fmt: skip

REFUSED: Final[Mapping[str, Any]] = {
    "model_list": [{"model_name": "m"}], "deployment_id": "dep", "shared_session": object(), "api_type": "azure",
}  # fmt: skip
"""With what asks for something."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "timeout": "client/test_timeouts.py::test_the_first_token",
    "max_retries": "compat/test_parameters.py::test_further_attempts_are_counted",
    "caching": "client/test_caching.py",
    "logger_fn": "compat/test_calls.py::test_a_call_s_own_listener_hears_before_and_after",
    "litellm_call_id": "compat/test_parameters.py::test_ids_of_litellms_stand_in_the_log",
    "enable_json_schema_validation": "compat/test_settings.py::test_an_answer_is_held_to_its_schema_when_asked",
    "client": "compat/test_clients.py",
}  # fmt: skip
"""What changes nothing that is sent, and the test that shows what it does."""

NOTHING: Final = frozenset({"aspeech"})
"""litellm's own notes to itself, which no program gives."""

CALLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "completion": {"model": "openai/m", "messages": [{"role": "user", "content": "hi"}]},
    "text_completion": {"model": "openai/m", "prompt": "hi"},
    "embedding": {"model": "openai/m", "input": ["hi"]},
    "responses": {"model": "openai/m", "input": "hi"},
    "rerank": {"model": "cohere/m", "query": "hi", "documents": ["a", "b"]},
    "image_generation": {"model": "openai/m", "prompt": "a mill"},
    "image_edit": {"model": "openai/m", "image": b"image", "prompt": "a mill"},
    "transcription": {"model": "openai/m", "file": ("a.mp3", b"sound")},
    "speech": {"model": "openai/m", "input": "hi", "voice": "alloy"},
    "moderation": {"model": "openai/m", "input": "hi"},
    "anthropic_messages": {"model": "anthropic/m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9},
    "generate_content": {"model": "gemini/m", "contents": "hi"},
}
"""The functions, and the least that each must be given."""

SIGNATURES: Final[Mapping[str, str]] = {
    "completion": """model messages timeout temperature top_p n stream stream_options stop max_completion_tokens max_tokens modalities
        prediction audio presence_penalty frequency_penalty logit_bias user reasoning_effort verbosity response_format seed tools
        tool_choice
        logprobs top_logprobs parallel_tool_calls web_search_options include_server_side_tool_invocations deployment_id
        extra_headers safety_identifier service_tier store prompt_cache_key functions function_call base_url api_version api_key model_list
        thinking shared_session enable_json_schema_validation""",
    "text_completion": """prompt model best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty stop stream
        stream_options suffix temperature top_p user api_base api_version api_key model_list custom_llm_provider""",
    "embedding": """model input dimensions encoding_format timeout api_base api_version api_key api_type caching user custom_llm_provider
        litellm_call_id logger_fn""",
    "responses": """input model include instructions max_output_tokens prompt metadata parallel_tool_calls previous_response_id reasoning
        store background stream temperature text text_format tool_choice tools top_p truncation user service_tier safety_identifier
        extra_headers extra_query extra_body timeout allowed_openai_params custom_llm_provider""",
    "rerank": "model query documents custom_llm_provider top_n rank_fields return_documents max_chunks_per_doc max_tokens_per_doc",
    "image_generation": "prompt model n quality response_format size style user timeout api_key api_base api_version custom_llm_provider",
    "image_edit": """image prompt model mask n quality response_format size user extra_headers extra_query extra_body timeout
        custom_llm_provider""",
    "transcription": """model file language prompt response_format timestamp_granularities temperature user timeout api_key api_base
        api_version max_retries custom_llm_provider base_url""",
    "speech": """model input voice api_key api_base api_version organization project max_retries metadata timeout response_format speed
        instructions client headers custom_llm_provider aspeech base_url""",
    "moderation": "input model api_key",
    "anthropic_messages": """max_tokens messages model metadata stop_sequences stream system temperature thinking tool_choice tools top_k
        top_p container""",
    "generate_content": "model contents config tools extra_headers extra_query extra_body timeout custom_llm_provider",
}

SAME: Final[Mapping[tuple[str, str], str]] = {
    ("responses", "allowed_openai_params"): "every parameter is passed on as it is to who speaks Responses",
    ("speech", "metadata"): "it is for callbacks and routing",
    ("rerank", "rank_fields"): "documents without fields; test_fields_of_documents_that_count_are_ranked_by",
    ("rerank", "return_documents"): "the documents are put beside the scores here",
    ("rerank", "max_chunks_per_doc"): "Cohere's v2 has none, and it is refused; test_what_a_reranker_has_no_word_for_is_refused",
    **{(name, "api_version"): "OpenAI has none" for name in CALLS},
}
"""Parameters that change nothing at this provider, and why that is what they mean."""


@pytest.fixture(autouse=True)
def settings() -> Any:
    module = stand_in.module("litellm")
    before, layers, standing_ = dict(vars(module)), around._layers, headrace.Router.standing
    accept("callbacks", [])
    yield module
    vars(module).clear()
    vars(module).update(before)
    around._layers, headrace.Router.standing = layers, standing_


def sent(name: str, upstream: Upstream, **options: Any) -> list[Any]:
    """What reaches the provider of a call, whether or not its answer can be read."""
    upstream.seen.clear()
    asked = {"base_url": upstream.url, "api_key": "sk-test", "num_retries": 0, **CALLS[name], **options}
    with suppress(headrace.APIError, headrace.APIResponseValidationError, headrace.APIConnectionError, headrace.InternalServerError):
        getattr(headrace, name)(**asked)  # the upstream answers everything with a chat
    varying = ("content-length", "host", "content-type", "user-agent")
    return [
        (seen.path, {name: value for name, value in seen.headers.items() if name not in varying}, _whole(seen)) for seen in upstream.seen
    ]


def _whole(seen: Any) -> Any:
    """A form's boundary is drawn anew each time."""
    boundary = seen.headers.get("content-type", "").rpartition("boundary=")[2].strip('"')
    return seen.body.replace(boundary.encode(), b"") if boundary and isinstance(seen.body, bytes) else seen.body


OTHERS: Final = {"rerank": "deepinfra", "generate_content": "openai"}
"""Who else offers it."""

PROBED: Final = sorted(
    (name, parameter)
    for name, parameters in SIGNATURES.items()
    for parameter in parameters.split()
    if parameter not in CALLS[name] and parameter not in {*ELSEWHERE, *REFUSED, *NOTHING} and (name, parameter) not in SAME
)


@pytest.mark.parametrize(("name", "parameter"), PROBED)
def test_a_parameter_changes_what_is_sent(name: str, parameter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = OWN_VALUES.get((name, parameter), VALUES.get(parameter))
    assert value is not None, "give it a value"
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-router")
    with standing() as upstream, standing() as other:
        without = sent(name, upstream)
        assert without, "the call itself must reach the provider"
        if value == "other":
            assert sent(name, upstream, **{"base_url": None, parameter: other.url}) == []
            assert len(other.seen) == 1
        elif parameter == "custom_llm_provider":
            assert sent(name, upstream, model="m", custom_llm_provider=OTHERS.get(name, "openrouter")) != without
        elif parameter == "logprobs" and name == "completion":
            assert sent(name, upstream, logprobs=True)[0][2]["logprobs"] is True
        else:
            assert sent(name, upstream, **{parameter: value}) != without


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, one) for name, parameters in SIGNATURES.items() for one in parameters.split() if one in REFUSED]
)
def test_a_parameter_that_cannot_be_kept_is_refused_by_name(name: str, parameter: str) -> None:
    with standing() as upstream, pytest.raises(headrace.BadRequestError, match=f"^{parameter} is not supported: .{{10}}"):
        sent(name, upstream, **{parameter: REFUSED[parameter]})
    with standing() as upstream:
        assert sent(name, upstream, **{parameter: None}) == sent(name, upstream)


def test_the_table_is_whole() -> None:
    assert SIGNATURES.keys() == CALLS.keys()
    for name, parameters in SIGNATURES.items():
        assert CALLS[name].keys() <= {*parameters.split()}, name
    known = {*VALUES, *REFUSED, *ELSEWHERE, *NOTHING, *(parameter for _, parameter in (*SAME, *OWN_VALUES))}
    asked = {one for name, parameters in SIGNATURES.items() for one in parameters.split() if one not in CALLS[name]}
    assert asked <= known
    assert known <= asked | {"mask"}, "what no function has"
    assert len(PROBED) > 120


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_what_is_shown_elsewhere_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    source = ast.parse((TESTS / path).read_text("utf-8"))
    names = {node.name for node in ast.walk(source) if isinstance(node, ast.FunctionDef)}
    assert name in names if name else names


@pytest.mark.parametrize(
    "options", [{"max_retries": 2}, {"num_retries": 2}, {"num_retries": 0, "retry_policy": {"InternalServerErrorRetries": 2}}]
)
@pytest.mark.parametrize("routed", [False, True])
def test_further_attempts_are_counted(options: dict[str, Any], routed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: `retry_policy` of a call was taken and ignored."""
    monkeypatch.setattr("headrace.routing.decide._wait", lambda *_: 0.0)
    with standing() as upstream:
        upstream.answer(Reply({}, status=500), Reply({}, status=500), Reply(CHAT))
        params = {"model": "openai/m", "base_url": upstream.url, "api_key": "sk-test"}
        ask: Any = headrace.Router([{"model_name": "openai/m", "litellm_params": params}]) if routed else headrace
        where = {} if routed else {"base_url": upstream.url, "api_key": "sk-test"}
        assert ask.completion(**CALLS["completion"], **where, **options).choices
        assert len(upstream.seen) == 3


def test_ids_of_litellms_stand_in_the_log() -> None:
    """Symptom: `litellm_trace_id` and `litellm_session_id` were taken and ignored."""
    heard: list[Any] = []
    accept("success_callback", [lambda kwargs, *_: heard.append(kwargs["standard_logging_object"])])
    ids = {"litellm_call_id": "c", "litellm_trace_id": "t", "litellm_session_id": "s"}
    headrace.completion(**CALLS["completion"], mock_response="hi", **ids)  # type: ignore[call-overload]
    assert (heard[0]["litellm_call_id"], heard[0]["trace_id"], heard[0]["session_id"]) == ("c", "t", "s")


def test_fields_of_documents_that_count_are_ranked_by() -> None:
    """Symptom: `rank_fields` was taken and ignored."""
    with standing() as upstream:
        document = {"title": "A mill", "text": "Much text.", "id": 7}
        body = sent("rerank", upstream, documents=[document], rank_fields=["title", "id"])[0][2]
        assert body["documents"] == ["A mill\n7"]
        assert "rank_fields" not in body


def test_what_a_reranker_has_no_word_for_is_refused() -> None:
    """Symptom: `max_chunks_per_doc` was taken and ignored."""
    with standing() as upstream:
        with pytest.raises(headrace.UnsupportedParamsError, match="cohere does not support max_chunks_per_doc"):
            sent("rerank", upstream, max_chunks_per_doc=3)
        assert sent("rerank", upstream, max_chunks_per_doc=3, drop_params=True) == sent("rerank", upstream)
