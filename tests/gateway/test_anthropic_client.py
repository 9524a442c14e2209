"""The official Anthropic client calls the gateway, with OpenAI's models behind it."""

from __future__ import annotations

import anthropic
import pytest

from gateway.conftest import KEY

ASK = [{"role": "user", "content": "Name a river."}]


@pytest.fixture
def client(base: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=KEY, base_url=base, max_retries=0)


def test_a_message_is_answered(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="gpt", max_tokens=20, messages=ASK, system="Be brief.")
    assert answer.content[0].text
    assert answer.usage.output_tokens > 0


def test_a_streamed_message_comes_whole(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="gpt", max_tokens=20, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    assert final.content[0].text == text
    assert final.stop_reason in ("end_turn", "max_tokens")


def test_a_tool_is_called(client: anthropic.Anthropic) -> None:
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {"where": {"type": "string"}}}}
    answer = client.messages.create(model="gpt", max_tokens=50, messages=ASK, tools=[tool], tool_choice={"type": "any"})
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["look"]


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    few = client.messages.count_tokens(model="gpt", messages=ASK).input_tokens
    many = client.messages.count_tokens(model="gpt", messages=[{"role": "user", "content": "Name a river. " * 50}]).input_tokens
    assert 0 < few < many


def test_models_are_listed_in_anthropics_form(client: anthropic.Anthropic) -> None:
    assert "gpt" in [model.id for model in client.models.list()]


def test_errors_are_anthropics(client: anthropic.Anthropic, base: str) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="nobody", max_tokens=20, messages=ASK)
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(api_key="sk-wrong", base_url=base, max_retries=0).messages.create(model="gpt", max_tokens=9, messages=ASK)


def test_a_failure_after_the_first_sign_of_life_is_an_error_of_the_stream(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model="late", max_tokens=20, messages=ASK, extra_body={"timeout": 1}) as stream,
    ):
        list(stream)
    assert caught.value.body["type"] == "error"


def test_a_tool_runner_sent_half_a_conversation_to_providers_that_hold_none(client: anthropic.Anthropic) -> None:
    """It begins with a thread, and goes on without one where it is told so by this code."""
    with pytest.raises(anthropic.BadRequestError, match="send the whole conversation") as caught:
        client.beta.messages.create(model="gpt", max_tokens=20, messages=ASK, extra_body={"thread": {"type": "create"}})
    assert caught.value.body["error"]["details"]["error_code"] == "thread_unsupported_request"


def test_claude_is_asked_as_vertex_has_it(base: str) -> None:
    client = anthropic.AnthropicVertex(base_url=f"{base}/v1", access_token=KEY, project_id="p", region="global", max_retries=0)
    with client.messages.stream(model="gpt", max_tokens=20, messages=ASK) as stream:
        assert stream.get_final_text()
    assert client.messages.count_tokens(model="gpt", messages=ASK).input_tokens > 0


@pytest.mark.parametrize("address", ["/v1", "/", "/anthropic", "/anthropic/v1/"])
def test_a_base_address_with_the_version_that_the_client_adds_too_was_nowhere(base: str, address: str) -> None:
    client = anthropic.Anthropic(api_key=KEY, base_url=base + address, max_retries=0)
    assert client.messages.create(model="gpt", max_tokens=20, messages=ASK).content
