"""Responses that have to be polled, and models that complete a single text; sync and async."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream, wait_until

import headrace
from headrace.calls import CHAT

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses too short to notice."""
    monkeypatch.setattr("headrace.polling.SLOWEST", 0.005)


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    return [(seen.method, seen.path) for seen in upstream.seen]


# ---- Black Forest Labs ---------------------------------------------------------------------------------------------------------------


def bfl(upstream: Upstream) -> list[Reply]:
    place = {"id": "t1", "polling_url": f"{upstream.url}/get_result?id=t1"}
    ready = {"id": "t1", "status": "Ready", "result": {"sample": "https://delivery.bfl.ai/1.png", "seed": 7}}
    return [Reply(place), Reply({"id": "t1", "status": "Pending"}), Reply({"id": "t1", "status": "Pending"}), Reply(ready)]


def test_an_image_is_asked_after_until_it_is_ready(client: Client, upstream: Upstream) -> None:
    upstream.answer(*bfl(upstream))
    answer = client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1", size="1024x768", seed=7)
    assert asked(upstream) == [("POST", "/v1/flux-pro-1.1"), *[("GET", "/v1/get_result?id=t1")] * 3]
    assert upstream.seen[0].body == {"output_format": "png", "prompt": "a mill", "seed": 7, "width": 1024, "height": 768}
    assert {seen.headers["x-key"] for seen in upstream.seen} == {"sk-test-1234567890"}
    assert answer.data[0].url == "https://delivery.bfl.ai/1.png"


def test_an_image_is_changed_by_a_task_as_well(client: Client, upstream: Upstream) -> None:
    upstream.answer(*bfl(upstream))
    answer = client.call("image_edit", b"picture", "make it blue", "black_forest_labs/flux-kontext-pro")
    assert upstream.seen[0].body == {
        "output_format": "png", "prompt": "make it blue", "input_image": base64.b64encode(b"picture").decode(),
    }  # fmt: skip
    assert answer.data[0].url == "https://delivery.bfl.ai/1.png"


@pytest.mark.parametrize(
    ("status", "error"), [("Content Moderated", headrace.ContentPolicyViolationError), ("Error", headrace.InternalServerError)]
)
def test_a_task_that_fails_says_why(client: Client, upstream: Upstream, status: str, error: type[Exception]) -> None:
    upstream.answer(bfl(upstream)[0], Reply({"id": "t1", "status": status, "details": {"Moderation Reasons": ["x"]}}))
    with pytest.raises(error, match="Moderation Reasons"):
        client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1")


def test_the_key_goes_to_no_address_but_the_providers(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "t1", "polling_url": "http://127.0.0.1:9/steal"}))
    with pytest.raises(headrace.APIResponseValidationError, match="not on the provider's host"):
        client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1")


def test_a_question_that_goes_wrong_does_not_end_the_task(client: Client, upstream: Upstream) -> None:
    first, pending, _, ready = bfl(upstream)
    upstream.answer(first, Reply({"error": "busy"}, status=503), Reply(pieces=[b"{"], cut=True), pending, ready)
    answer = client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1")
    assert answer.data[0].url == "https://delivery.bfl.ai/1.png"
    assert len(upstream.seen) == 5


def test_a_question_that_goes_wrong_again_and_again_ends_the_call(client: Client, upstream: Upstream) -> None:
    upstream.answer(bfl(upstream)[0], Reply({"detail": "down"}, status=503))
    with pytest.raises(headrace.ServiceUnavailableError):
        client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1")
    assert len(upstream.seen) == 5


def test_a_task_nobody_has_time_for_is_a_timeout(client: Client, upstream: Upstream) -> None:
    upstream.answer(bfl(upstream)[0], Reply({"id": "t1", "status": "Pending"}))
    with pytest.raises(headrace.Timeout, match="pass a longer timeout"):
        client.call("image_generation", "a mill", "black_forest_labs/flux-pro-1.1", timeout=0.3)


# ---- Runway --------------------------------------------------------------------------------------------------------------------------


def test_runway_makes_images(client: Client, upstream: Upstream) -> None:
    upstream.answer(
        Reply({"id": "t-1"}),
        Reply({"id": "t-1", "status": "RUNNING"}),
        Reply({"id": "t-1", "status": "SUCCEEDED", "output": ["https://x/1"]}),
    )
    answer = client.call("image_generation", "a mill", "runwayml/gen4_image", size="1024x1024")
    assert asked(upstream) == [("POST", "/v1/text_to_image"), *[("GET", "/v1/tasks/t-1")] * 2]
    assert upstream.seen[0].body == {"model": "gen4_image", "promptText": "a mill", "ratio": "1024:1024"}
    assert {seen.headers["x-runway-version"] for seen in upstream.seen} == {"2024-11-06"}
    assert answer.data[0].url == "https://x/1"


def test_runway_speaks_and_the_recording_is_fetched_without_the_key(client: Client, upstream: Upstream) -> None:
    done = {"id": "t-1", "status": "SUCCEEDED", "output": [f"{upstream.url}/made.mp3"]}
    upstream.answer(Reply({"id": "t-1"}), Reply(done), Reply(b"sound", headers={"content-type": "audio/mpeg"}))
    answer = client.call("speech", "runwayml/eleven_multilingual_v2", "Hello", "alloy")
    assert answer.content == b"sound"
    assert upstream.seen[0].body == {
        "model": "eleven_multilingual_v2", "promptText": "Hello", "voice": {"type": "runway-preset", "presetId": "Maya"},
    }  # fmt: skip
    assert asked(upstream)[2] == ("GET", "/v1/made.mp3")
    assert "authorization" not in upstream.seen[2].headers


def test_what_a_provider_made_is_fetched_from_no_private_address(client: Client, upstream: Upstream) -> None:
    done = {"id": "t-1", "status": "SUCCEEDED", "output": ["http://127.0.0.1:9/secret"]}
    upstream.answer(Reply({"id": "t-1"}), Reply(done))
    with pytest.raises(headrace.APIConnectionError):
        client.call("speech", "runwayml/eleven_multilingual_v2", "Hello", "alloy", timeout=5)


def test_a_task_runway_refused_is_content_policy(client: Client, upstream: Upstream) -> None:
    failed = {"id": "t-1", "status": "FAILED", "failure": "no", "failureCode": "SAFETY.INPUT.TEXT"}
    upstream.answer(Reply({"id": "t-1"}), Reply(failed))
    with pytest.raises(headrace.ContentPolicyViolationError, match=r"no SAFETY\.INPUT\.TEXT"):
        client.call("image_generation", "a mill", "runwayml/gen4_image")
    assert [method for method, _ in asked(upstream)] == ["POST", "GET"]


def test_a_task_whose_time_is_over_is_taken_back(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "t-1"}), Reply({"id": "t-1", "status": "RUNNING"}))
    with pytest.raises(headrace.Timeout):
        client.call("image_generation", "a mill", "runwayml/gen4_image", timeout=0.3)
    assert asked(upstream)[-1] == ("DELETE", "/v1/tasks/t-1")


def test_a_task_whose_caller_leaves_is_taken_back(upstream: Upstream) -> None:
    upstream.answer(Reply({"id": "t-1"}), Reply({"id": "t-1", "status": "RUNNING"}))

    async def leave() -> None:
        call = headrace.aimage_generation("a mill", "runwayml/gen4_image", base_url=upstream.url, api_key="k")
        task = asyncio.ensure_future(call)
        assert await asyncio.to_thread(wait_until, lambda: len(upstream.seen) >= 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(wait_until, lambda: upstream.seen[-1].method == "DELETE")

    asyncio.run(leave())
    assert asked(upstream)[-1] == ("DELETE", "/v1/tasks/t-1")


# ---- Topaz ---------------------------------------------------------------------------------------------------------------------------


def test_topaz_gives_the_image_itself(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"\x89PNG", headers={"content-type": "image/png"}))
    answer = client.call("image_variation", ("a.png", b"small"), "topaz/Standard V2", size="2048x1024")
    [seen] = upstream.seen
    assert (seen.path, seen.headers["x-api-key"]) == ("/v1/image/v1/enhance", "sk-test-1234567890")
    assert all(it in seen.body for it in (b"Standard V2", b"2048", b"1024", b"small"))
    assert base64.b64decode(answer.data[0].b64_json) == b"\x89PNG"
    upstream.answer(Reply({"process_id": "p"}))
    with pytest.raises(headrace.APIResponseValidationError, match="not an image"):
        client.call("image_variation", b"small", "topaz/Standard V2")


# ---- Soniox --------------------------------------------------------------------------------------------------------------------------

TOKENS = [
    {"text": "Hel", "start_ms": 0, "end_ms": 200, "language": "en"},
    {"text": "lo", "start_ms": 200, "end_ms": 400, "language": "en"},
    {"text": " you", "start_ms": 500, "end_ms": 1900, "language": "en"},
]


def soniox(*more: Reply) -> list[Reply]:
    job = {"id": "tr", "file_id": "f1", "model": "stt-async-preview"}
    return [Reply({"id": "f1", "filename": "a.wav", "size": 5}), Reply({**job, "status": "queued"}, status=201),
            Reply({**job, "status": "processing"}), *more]  # fmt: skip


DONE = [
    Reply({"id": "tr", "file_id": "f1", "status": "completed"}),
    Reply({"id": "tr", "text": "Hello you", "tokens": TOKENS}),
    Reply(b"", 204),
]


def test_soniox_is_given_the_recording_and_asked_after_it_and_keeps_nothing(client: Client, upstream: Upstream) -> None:
    upstream.answer(*soniox(*DONE))
    answer = client.call("transcription", "soniox/stt-async-preview", ("a.wav", b"sound"), language="en", enable_speaker_diarization=True)
    assert asked(upstream) == [
        ("POST", "/v1/files"), ("POST", "/v1/transcriptions"), ("GET", "/v1/transcriptions/tr"), ("GET", "/v1/transcriptions/tr"),
        ("GET", "/v1/transcriptions/tr/transcript"), ("DELETE", "/v1/transcriptions/tr"), ("DELETE", "/v1/files/f1"),
    ]  # fmt: skip
    assert b"sound" in upstream.seen[0].body
    assert upstream.seen[1].body == {
        "model": "stt-async-preview", "file_id": "f1", "enable_speaker_diarization": True, "language_hints": ["en"],
    }  # fmt: skip
    assert (answer.text, answer.language, answer.duration) == ("Hello you", "en", 1.9)
    assert answer.words == [{"word": "Hello", "start": 0.0, "end": 0.4}, {"word": "you", "start": 0.5, "end": 1.9}]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("srt", "1\n00:00:00,000 --> 00:00:01,900\nHello you\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.900\nHello you\n"),
    ],
)
def test_soniox_words_become_subtitles(client: Client, upstream: Upstream, wanted: str, text: str) -> None:
    upstream.answer(*soniox(*DONE))
    assert client.call("transcription", "soniox/stt-async-preview", b"sound", response_format=wanted).text == text


def test_a_transcription_that_fails_leaves_nothing_behind(client: Client, upstream: Upstream) -> None:
    upstream.answer(*soniox(Reply({"id": "tr", "file_id": "f1", "status": "error", "error_message": "no speech"})))
    with pytest.raises(headrace.InternalServerError, match="no speech"):
        client.call("transcription", "soniox/stt-async-preview", b"sound")
    assert asked(upstream)[-2:] == [("DELETE", "/v1/transcriptions/tr"), ("DELETE", "/v1/files/f1")]


# ---- Replicate -----------------------------------------------------------------------------------------------------------------------


def prediction(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """Exchange fa9928467dc86ca2."""
    place = f"{upstream.url}/predictions/p1"
    urls = {"cancel": f"{place}/cancel", "get": place, "stream": f"{upstream.url}/streams/s1"}
    return {"id": "p1", "model": "m", "version": "v", "input": {}, "logs": "", "error": None, "status": "starting", "urls": urls, **more}


def test_replicate_predicts_texts(client: Client, upstream: Upstream) -> None:
    metrics = {"predict_time": 1.0, "input_token_count": 5, "output_token_count": 2}
    upstream.answer(
        Reply(prediction(upstream), status=201),
        Reply(prediction(upstream, status="processing")),
        Reply(prediction(upstream, status="succeeded", output=["Hel", "lo"], metrics=metrics)),
    )
    messages = [{"role": "system", "content": "Be short."}, *ASK]
    answer = client.call("completion", "replicate/meta/meta-llama-3-70b-instruct", messages, max_tokens=9, top_k=3)
    assert asked(upstream) == [("POST", "/v1/models/meta/meta-llama-3-70b-instruct/predictions"), *[("GET", "/v1/predictions/p1")] * 2]
    assert upstream.seen[0].body == {"input": {"prompt": "hi", "system_prompt": "Be short.", "max_tokens": 9, "top_k": 3}}
    assert upstream.seen[0].headers["prefer"].startswith("wait")
    assert isinstance(answer, headrace.ModelResponse)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason, answer.id) == ("Hello", "stop", "p1")
    assert answer.usage.total_tokens == 7


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("meta/llama-2-70b-chat", "/v1/models/meta/llama-2-70b-chat/predictions", None),
        ("meta/llama-2-70b-chat:02e509", "/v1/predictions", "02e509"),
        ("deployments/acme/llama", "/v1/deployments/acme/llama/predictions", None),
    ],
)
def test_replicate_has_models_versions_and_deployments(
    client: Client, upstream: Upstream, model: str, path: str, version: str | None
) -> None:
    upstream.answer(Reply(prediction(upstream, status="succeeded", output="Hello")))
    turns = [*ASK, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "and?"}]
    answer = client.call("completion", f"replicate/{model}", turns, max_tokens=9)
    assert upstream.seen[0].path == path
    assert upstream.seen[0].body.get("version") == version
    assert upstream.seen[0].body["input"]["prompt"] == "User: hi\n\nAssistant: ho\n\nUser: and?\n\nAssistant:"
    assert upstream.seen[0].body["input"].get("max_new_tokens" if "llama-2" in model else "max_tokens") == 9
    assert answer.choices[0].message.content == "Hello"


EVENTS = [b"event: output\ndata: Hel\n\n", b"event: output\ndata: lo\ndata: you\n\n", b"event: done\ndata: {}\n\n"]


def test_replicate_streams_from_an_address_of_its_own(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(prediction(upstream), status=201), Reply(pieces=list(EVENTS)))
    chunks = client.call("completion", "replicate/meta/meta-llama-3-8b", ASK, stream=True)
    assert asked(upstream) == [("POST", "/v1/models/meta/meta-llama-3-8b/predictions"), ("GET", "/v1/streams/s1")]
    assert upstream.seen[0].body["stream"] is True
    assert upstream.seen[1].headers["accept"] == "text/event-stream"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello\nyou"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_of_replicates_that_breaks_off_is_no_answer(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(prediction(upstream), status=201), Reply(pieces=list(EVENTS[:2])), Reply({}))
    with pytest.raises(headrace.TruncatedStream, match="ended early"):
        client.call("completion", "replicate/meta/meta-llama-3-8b", ASK, stream=True)


def test_a_stream_of_replicates_that_is_left_takes_the_prediction_back(upstream: Upstream) -> None:
    upstream.answer(Reply(prediction(upstream), status=201), Reply(pieces=[EVENTS[0]] * 50), Reply({}))
    stream = headrace.completion("replicate/meta/meta-llama-3-8b", ASK, stream=True, base_url=upstream.url, api_key="k")
    assert next(iter(stream)).choices[0].delta.content == "Hel"
    stream.close()
    assert wait_until(lambda: asked(upstream)[-1] == ("POST", "/v1/predictions/p1/cancel"))


def test_a_prediction_that_fails_says_why(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(prediction(upstream, status="failed", error="The input was flagged as sensitive (E005)")))
    with pytest.raises(headrace.ContentPolicyViolationError, match="flagged as sensitive"):
        client.call("completion", "replicate/meta/meta-llama-3-8b", ASK)


def test_replicate_predicts_images(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(prediction(upstream, status="succeeded", output=["https://replicate.delivery/1.png"])))
    answer = client.call("image_generation", "a mill", "replicate/black-forest-labs/flux-schnell", n=2, aspect_ratio="16:9")
    assert upstream.seen[0].body == {"input": {"prompt": "a mill", "num_outputs": 2, "aspect_ratio": "16:9"}}
    assert answer.data[0].url == "https://replicate.delivery/1.png"


# ---- models that complete one text -----------------------------------------------------------------------------------------------------


def test_nlp_cloud_chats_with_what_was_said(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"response": "And ho.", "history": []}))
    turns = [{"role": "system", "content": "Be short."}, *ASK, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "and?"}]
    answer = client.call("completion", "nlp_cloud/finetuned-llama-3-70b", turns)
    [seen] = upstream.seen
    assert (seen.path, seen.headers["authorization"]) == ("/v1/finetuned-llama-3-70b/chatbot", "Token sk-test-1234567890")
    assert seen.body == {"input": "and?", "context": "Be short.", "history": [{"input": "hi", "response": "ho"}]}
    assert answer.choices[0].message.content == "And ho."


def test_nlp_cloud_completes(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"generated_text": "upon a time", "nb_input_tokens": 1, "nb_generated_tokens": 3}))
    answer = client.call("text_completion", "nlp_cloud/dolphin", "Once", max_tokens=9)
    assert (upstream.seen[0].path, upstream.seen[0].body) == ("/v1/dolphin/generation", {"text": "Once", "max_length": 9})
    assert (answer.choices[0].text, answer.usage.total_tokens) == ("upon a time", 4)


def test_petals_takes_a_form(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"ok": True, "outputs": " ho"}))
    answer = client.call("completion", "petals/petals-team/StableBeluga2", ASK, max_tokens=9)
    assert upstream.seen[0].path == "/v1/generate"
    assert upstream.seen[0].body == b"model=petals-team%2FStableBeluga2&inputs=hi&max_new_tokens=9"
    assert answer.choices[0].message.content == " ho"
    upstream.answer(Reply({"ok": False, "traceback": "…"}))
    with pytest.raises(headrace.APIResponseValidationError):
        client.call("completion", "petals/petals-team/StableBeluga2", ASK)


@pytest.mark.parametrize(("end", "path"), [("", "/v1/v2/models/llama/generate"), ("/generate", "/v1/generate"), ("/infer", "/v1/infer")])
def test_triton_generates_or_infers(client: Client, upstream: Upstream, end: str, path: str) -> None:
    infers = end == "/infer"
    upstream.answer(Reply({"outputs": [{"data": ["ho"]}]} if infers else {"model_name": "llama", "text_output": "ho"}))
    answer = client.call("completion", "triton/llama", ASK, max_tokens=9, base_url=upstream.url + end)
    assert upstream.seen[0].path == path
    if infers:
        assert upstream.seen[0].body == {"inputs": [
            {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["hi"]},
            {"name": "max_tokens", "shape": [1], "datatype": "INT32", "data": [9]},
        ]}  # fmt: skip
    else:
        assert upstream.seen[0].body == {"text_input": "hi", "parameters": {"max_tokens": 9}, "stream": False}
    assert answer.choices[0].message.content == "ho"


def test_triton_embeds(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"model_name": "e", "outputs": [{"name": "v", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}))
    answer = client.call("embedding", "triton/e", ["a", "b"])
    assert upstream.seen[0].path == "/v1/v2/models/e/infer"
    assert upstream.seen[0].body["inputs"] == [{"name": "input_text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]
    assert [it["embedding"] for it in answer.data] == [[1, 2], [3, 4]]


def test_riva_is_asked_by_language_over_http(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"text": "Hello"}))
    answer = client.call("transcription", "nvidia_riva/parakeet", ("a.wav", b"sound"))
    assert upstream.seen[0].path == "/v1/audio/transcriptions"
    assert b'name="language"\r\n\r\nen-US' in upstream.seen[0].body
    assert b'name="model"' not in upstream.seen[0].body
    assert answer.text == "Hello"


ONE_TEXT = ["replicate/a/b", "nlp_cloud/m", "petals/m", "triton/m"]


@pytest.mark.parametrize("model", ONE_TEXT)
@pytest.mark.parametrize(
    ("messages", "options", "said"),
    [
        (ASK, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "rejects tools"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/1.png"}}]}], {}, "only accepts text"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], {}, "only accepts the roles user and assistant"),
    ],
)
def test_what_one_text_cannot_say_is_refused_by_name(
    client: Client, upstream: Upstream, model: str, messages: Any, options: Any, said: str
) -> None:
    with pytest.raises(headrace.BadRequestError, match=said):
        client.call("completion", model, messages, **options)
    assert upstream.seen == []


def test_other_words_for_a_chat_are_refused_where_one_text_is_all(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="replicate is only supported by completion"):
        client.call("responses", "hi", "replicate/a/b")
    assert upstream.seen == []


def test_a_router_takes_tasks_under_its_limits(client: Client, upstream: Upstream) -> None:
    """A task holds its place until it is done, and is one request however often it is asked after."""
    upstream.answer(*bfl(upstream))
    params = {"model": "black_forest_labs/flux-pro-1.1", "base_url": upstream.url, "api_key": "k", "rpm": 1}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}], max_wait=0, num_retries=0)
    assert client.call("image_generation", "a mill", "group", on=router).data[0].url == "https://delivery.bfl.ai/1.png"
    assert [row["in_flight"] for row in router.snapshot()["deployments"].values()] == [0]
    with pytest.raises(headrace.RateLimitError):
        [client.call("image_generation", "a mill", "group", on=router) for _ in range(6)]


def test_a_caller_of_bytes_gets_openais_events_of_a_stream_of_replicates(upstream: Upstream) -> None:
    """What a gateway hands on: no event of Replicate's own, and the stream's proper end."""
    upstream.answer(Reply(prediction(upstream), status=201), Reply(pieces=list(EVENTS)))
    params = {"model": "replicate/meta/meta-llama-3-8b", "base_url": upstream.url, "api_key": "k"}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}], num_retries=0)

    async def read() -> bytes:
        stream: Any = await router.araw(CHAT, "group", ASK, stream=True, options={})
        return b"".join([piece async for piece in stream])

    told = asyncio.run(read())
    assert told.endswith(b"data: [DONE]\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in told.decode().split("\n\n") if line and "[DONE]" not in line]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events) == "Hello\nyou"
    assert b"event: output" not in told
