"""The official OpenAI client calls the gateway."""

from __future__ import annotations

import openai
import pytest

from gateway.conftest import KEY, serving
from headrace import Router
from headrace.gateway.config import Settings
from headrace.simulator.server import Running


@pytest.fixture
def client(base: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0)


ASK = [{"role": "user", "content": "Name a river."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}}


def test_a_chat_is_answered_with_what_it_cost_in_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt", messages=ASK, max_tokens=9)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert raw.headers["x-headrace-deployment"]
    assert raw.headers["x-headrace-attempts"] == "1"
    assert raw.headers["x-litellm-call-id"] == raw.headers["x-request-id"]
    assert (raw.headers["x-litellm-model-group"], raw.headers["x-litellm-attempted-retries"]) == ("gpt", "0")
    assert raw.headers["x-litellm-model-id"] == raw.headers["x-headrace-deployment"]
    assert raw.headers["x-headrace-queue-wait-ms"] == "0"
    assert raw.headers["x-request-id"] == raw.headers["request-id"]


def test_a_streamed_chat_comes_whole(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="gpt", messages=ASK, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None


def test_a_tool_is_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt", messages=ASK, tools=[TOOL], tool_choice="required")
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert answer.choices[0].message.tool_calls[0].function.name == "look"


def test_the_version_may_be_left_out_of_the_path(base: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=base, max_retries=0)
    assert client.chat.completions.create(model="gpt", messages=ASK).choices[0].message.content


def test_azure_clients_find_their_deployment_in_the_path(base: str) -> None:
    client = openai.AzureOpenAI(api_key=KEY, azure_endpoint=base, api_version="2024-10-21", max_retries=0)
    assert client.chat.completions.create(model="gpt", messages=ASK).choices[0].message.content
    assert client.embeddings.create(model="vectors", input="a river").data[0].embedding


def test_vercels_azure_clients_had_no_responses_of_a_deployment(base: str) -> None:
    """Their addresses name the deployment there too."""
    with openai.OpenAI(
        api_key=KEY, base_url=f"{base}/openai/deployments/gpt", default_query={"api-version": "v1"}, max_retries=0
    ) as client:
        assert client.responses.create(input="Name a river.", max_output_tokens=20).output_text


def test_a_text_is_completed(client: openai.OpenAI) -> None:
    assert client.completions.create(model="gpt", prompt="A river", max_tokens=5).choices[0].text


def test_embeddings_come_as_numbers_and_as_base64(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="vectors", input=["a river", "a mill"], dimensions=8)
    plain = client.embeddings.create(model="vectors", input=["a river", "a mill"], dimensions=8, encoding_format="float")
    assert [len(one.embedding) for one in packed.data] == [8, 8]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)


def test_a_response_is_made_and_streamed(client: openai.OpenAI) -> None:
    made = client.responses.create(model="gpt", input="Name a river.")
    assert made.output_text
    events = list(client.responses.create(model="gpt", input="Name a river.", stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"


def test_a_response_that_nobody_gave_out_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.responses.retrieve("resp_unknown")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.responses.cancel("resp_unknown")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.responses.delete("resp_unknown")


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert {"gpt", "vectors", "slow"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("gpt").id == "gpt"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_a_model_that_a_pattern_answers_to_was_not_there_when_it_was_asked_for(upstream: Running) -> None:
    """Clients look a model up before they call it."""
    params = {"model": "openai/*", "api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    router = Router([{"model_name": "gpt-*", "litellm_params": params}])
    with (
        serving(router, Settings(key=KEY)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client,
    ):
        assert client.models.retrieve("gpt-sim").id == "gpt-sim"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("claude-sim")


def test_a_wrong_key_is_refused_and_not_repeated(base: str) -> None:
    client = openai.OpenAI(api_key="sk-wrong-one", base_url=f"{base}/v1", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt", messages=ASK)
    assert "sk-wrong-one" not in str(caught.value)


def test_a_model_that_is_not_here_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=ASK)


def test_the_providers_refusal_reaches_the_caller_as_such(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="unknown-there", messages=ASK)
    assert caught.value.body["message"]


def test_a_call_with_no_room_in_its_time_is_told_when_to_come_back(client: openai.OpenAI) -> None:
    def several() -> None:
        for _ in range(3):
            client.chat.completions.create(model="narrow", messages=ASK, extra_body={"max_wait": 0})

    with pytest.raises(openai.RateLimitError) as caught:
        several()
    headers = caught.value.response.headers
    assert int(headers["retry-after"]) >= 1
    assert int(headers["retry-after-ms"]) >= 1
    assert headers["x-should-retry"] in ("true", "false")


@pytest.mark.parametrize("word", ["base_url", "api_key", "extra_headers", "vertex_credentials", "fetch_media", "scopes"])
def test_where_a_call_goes_and_with_whose_key_is_not_the_callers_to_say(client: openai.OpenAI, word: str) -> None:
    with pytest.raises(openai.BadRequestError, match=word):
        client.chat.completions.create(model="gpt", messages=ASK, extra_body={word: "http://127.0.0.1:1"})


def test_a_waiting_stream_is_kept_alive_until_it_begins(base: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0)
    with client.chat.completions.with_streaming_response.create(
        model="late", messages=ASK, stream=True, extra_body={"timeout": 1}
    ) as response:
        lines = list(response.iter_lines())
    assert lines.count(": waiting") >= 2
    assert '"error"' in "".join(lines)
