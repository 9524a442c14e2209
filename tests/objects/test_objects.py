"""What a caller holds."""

from __future__ import annotations

import json
import pickle
from typing import Any

import msgspec
import pytest

from headrace.objects import (
    Choices,
    EmbeddingResponse,
    Function,
    Message,
    ModelResponse,
    ModelResponseStream,
    StreamingChoices,
    TextCompletionResponse,
    Usage,
)

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
                "invented_tomorrow": {"deep": [1, 2]},
            },
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}},
    "new_top_level": True,
}


def answer() -> ModelResponse:
    return ModelResponse.wrap(json.loads(json.dumps(ANSWER)))


def test_attributes_and_items_read_the_same() -> None:
    response = answer()
    assert response.choices[0].message.tool_calls is not None
    assert response.choices[0].message.tool_calls[0].function.name == "f"
    assert response["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
    assert response.usage is not None
    assert response.usage.prompt_tokens_details is not None
    assert response.usage.prompt_tokens_details.cached_tokens == 2


def test_nothing_the_provider_sent_is_lost() -> None:
    response = answer()
    assert response.model_dump() == ANSWER
    assert json.loads(response.model_dump_json()) == ANSWER
    assert response.choices[0].message["invented_tomorrow"] == {"deep": [1, 2]}


def test_a_dumped_response_builds_the_same_response() -> None:
    assert ModelResponse(**answer().model_dump()) == answer()
    assert ModelResponse.model_validate(answer()) == answer()


def test_responses_survive_pickling_with_their_hidden_parameters() -> None:
    response = answer()
    response._hidden_params = {"model_id": "x"}
    again = pickle.loads(pickle.dumps(response))
    assert again == response
    assert again._hidden_params == {"model_id": "x"}
    assert "_hidden_params" not in again.model_dump()


def test_fields_the_sdk_always_has_read_as_none_and_optional_ones_are_missing() -> None:
    message = Message(content="hi")
    assert message.role == "assistant"
    assert message.tool_calls is None
    assert not hasattr(message, "reasoning_content")
    assert "tool_calls" not in message
    with pytest.raises(KeyError):
        message["reasoning_content"]


def test_reasoning_is_found_under_both_names() -> None:
    assert Message.wrap({"reasoning": "because"}).reasoning_content == "because"


def test_usage_turns_into_a_dict_and_answers_get() -> None:
    usage = Usage.wrap({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    assert dict(usage) == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert usage.get("prompt_tokens") == 1
    assert usage.get("nothing", 5) == 5


def test_attributes_may_be_set_and_show_in_the_dump() -> None:
    chunk = ModelResponseStream.wrap({"id": "c", "choices": [{"delta": {"content": "x"}}]})
    chunk.predict_id = "p"  # type: ignore[attr-defined]
    chunk["mark"] = 1
    chunk.choices[0].delta.content = "y"
    assert chunk.model_dump() == {"id": "c", "choices": [{"delta": {"content": "y"}}], "predict_id": "p", "mark": 1}


def test_none_can_be_left_out_of_a_dump() -> None:
    assert "content" not in answer().model_dump(exclude_none=True)["choices"][0]["message"]


def test_a_deep_copy_shares_nothing() -> None:
    response = answer()
    copy = response.model_copy(deep=True, update={"model": "other"})
    assert copy.model == "other"
    copy.choices[0].message.content = "changed"
    assert response.choices[0].message.content is None


def test_an_embedding_prints_its_length_not_its_numbers() -> None:
    response = EmbeddingResponse.wrap({"data": [{"embedding": [0.5] * 1536, "index": 0}]})
    assert len(repr(response)) < 200
    assert response.data[0].embedding == response.data[0]["embedding"]


def test_objects_are_written_as_json_where_a_body_holds_them() -> None:
    from headrace.calls import encode

    assert msgspec.json.decode(encode([answer().choices[0].message]))[0]["tool_calls"][0]["id"] == "call_1"


TOLD = {
    "content": [
        {
            "token": "Hi",
            "logprob": -0.1,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Hi", "logprob": -0.1, "bytes": None}, {"token": "Ho", "logprob": -2.5, "rank": 2}],
        }
    ],
    "refusal": None,
    "invented_tomorrow": [1],
}


@pytest.mark.parametrize(("made", "choice"), [(ModelResponse, {"message": {}}), (ModelResponseStream, {"delta": {}})])
def test_log_probabilities_are_read_by_attribute_and_lose_nothing(made: type[Any], choice: dict[str, Any]) -> None:
    sent = {"choices": [{**choice, "logprobs": json.loads(json.dumps(TOLD))}]}
    logprobs = made.wrap(sent).choices[0].logprobs
    assert (logprobs.content[0].token, logprobs.content[0]["logprob"], logprobs.content[0].bytes) == ("Hi", -0.1, [72, 105])
    assert [(top.token, top.logprob, top.bytes) for top in logprobs.content[0].top_logprobs] == [("Hi", -0.1, None), ("Ho", -2.5, None)]
    assert logprobs.refusal is None
    assert logprobs.model_dump() == TOLD


def test_log_probabilities_are_absent_where_none_were_sent() -> None:
    assert not hasattr(answer().choices[0], "logprobs")
    nothing = ModelResponse.wrap({"choices": [{"message": {}, "logprobs": None}]}).choices[0]
    assert nothing.logprobs is None
    assert ModelResponseStream.wrap({"choices": [{"delta": {}}]}).choices[0].logprobs is None


def test_log_probabilities_in_another_providers_form_are_attributes_too() -> None:
    lists = {"tokens": ["Hi"], "token_logprobs": [-0.1], "top_logprobs": [{"Hi": -0.1}], "text_offset": [0]}
    text = TextCompletionResponse.wrap({"choices": [{"text": "Hi", "logprobs": dict(lists)}]}).choices[0].logprobs
    chat = ModelResponse.wrap({"choices": [{"message": {}, "logprobs": dict(lists)}]}).choices[0].logprobs
    assert text is not None
    assert (text.tokens, text.top_logprobs, text.text_offset) == (["Hi"], [{"Hi": -0.1}], [0])
    assert (chat.tokens, chat.content) == (["Hi"], None)
    assert text.model_dump() == chat.model_dump() == lists


def test_what_a_program_makes_itself_has_what_litellms_has() -> None:
    """Symptom: `ModelResponse()` had no choices to fill in."""
    made = ModelResponse()
    made.choices[0].message.content = "hi"
    assert (made.choices[0].finish_reason, made.choices[0].message.role, made.object) == ("stop", "assistant", "chat.completion")
    assert ModelResponse(choices=[]).choices[0].message.content is None
    assert StreamingChoices().delta.content is None
    assert Choices(finish_reason="length").finish_reason == "length"
    assert Function(name="f", arguments={"a": 1}).arguments == '{"a":1}'
    assert ModelResponse.wrap({"choices": []}).choices == [], "what a provider sent stays what it is"
