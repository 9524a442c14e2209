"""Images, speech and reranking of Gemini, Vertex AI and Bedrock, and AssemblyAI's transcripts; sync and async."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import pytest
from tests.client.test_bedrock_client import no_aws_here  # noqa: F401
from tests.client.upstream import Client, Reply, Upstream

import headrace

PNG = base64.b64encode(b"\x89PNG").decode()
AWS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a-secret-of-forty", "aws_region_name": "eu-central-1", "api_key": None}


@pytest.mark.parametrize(("provider", "place"), [("gemini", "/v1/models"), ("vertex_ai", "/v1/publishers/google/models")])
def test_imagen_predicts_pictures(client: Client, upstream: Upstream, provider: str, place: str) -> None:
    upstream.answer(Reply({"predictions": [{"bytesBase64Encoded": PNG, "mimeType": "image/png"}] * 2}))
    answer = client.call(
        "image_generation", "a mill", f"{provider}/imagen-4.0-generate-001", n=2, size="1792x1024", personGeneration="none"
    )
    assert upstream.seen[0].path == f"{place}/imagen-4.0-generate-001:predict"
    assert upstream.seen[0].body == {
        "instances": [{"prompt": "a mill"}], "parameters": {"sampleCount": 2, "aspectRatio": "16:9", "personGeneration": "none"},
    }  # fmt: skip
    assert [image.b64_json for image in answer.data] == [PNG, PNG]


@pytest.mark.parametrize(("provider", "place"), [("gemini", "/v1/models"), ("vertex_ai", "/v1/publishers/google/models")])
def test_gemini_draws_as_it_writes(client: Client, upstream: Upstream, provider: str, place: str) -> None:
    parts = [{"text": "Here:"}, {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "s"}]
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 1290, "totalTokenCount": 1294}
    upstream.answer(Reply({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}))
    answer = client.call("image_generation", "a mill", f"{provider}/gemini-2.5-flash-image", size="1024x1024")
    assert upstream.seen[0].path == f"{place}/gemini-2.5-flash-image:generateContent"
    assert upstream.seen[0].body == {
        "contents": [{"role": "user", "parts": [{"text": "a mill"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1"}},
    }  # fmt: skip
    assert (answer.data[0].b64_json, answer.data[0]["thoughtSignature"], answer.usage.total_tokens) == (PNG, "s", 1294)


def test_gemini_changes_pictures_that_go_along(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}}]}))
    files = [("a.jpg", b"one", "image/jpeg"), b"two"]
    answer = client.call("image_edit", files, "make it blue", "gemini/gemini-2.5-flash-image")
    assert upstream.seen[0].path == "/v1/models/gemini-2.5-flash-image:generateContent"
    assert upstream.seen[0].body["contents"][0]["parts"] == [
        {"text": "make it blue"},
        {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(b"one").decode()}},
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"two").decode()}},
    ]
    assert answer.data[0].b64_json == PNG
    for model, options in (("gemini/imagen-4", {}), ("gemini/gemini-2.5-flash-image", {"mask": b"m"})):
        with pytest.raises(headrace.UnsupportedParamsError):
            client.call("image_edit", b"one", "make it blue", model, **options)


@pytest.mark.parametrize(
    ("model", "told", "error"),
    [
        ("gemini/imagen-4", {"predictions": [{"raiFilteredReason": "people"}]}, headrace.ContentPolicyViolationError),
        ("gemini/imagen-4", {"predictions": []}, headrace.ContentPolicyViolationError),
        ("gemini/g-image", {"promptFeedback": {"blockReason": "SAFETY"}}, headrace.ContentPolicyViolationError),
        ("gemini/g-image", {"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, headrace.ContentPolicyViolationError),
        ("gemini/g-image", {"candidates": [{"content": {"parts": [{"text": "no"}]}}]}, headrace.APIResponseValidationError),
    ],
)
def test_a_picture_that_did_not_come_says_why(client: Client, upstream: Upstream, model: str, told: Any, error: type[Exception]) -> None:
    upstream.answer(Reply(told))
    with pytest.raises(error):
        client.call("image_generation", "a mill", model)


def test_gemini_speaks_in_a_wav_or_as_it_comes(client: Client, upstream: Upstream) -> None:
    sound = b"\x01\x02" * 100
    part = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": base64.b64encode(sound).decode()}}
    upstream.answer(Reply({"candidates": [{"content": {"parts": [part]}}]}))
    answer = client.call("speech", "gemini/gemini-2.5-flash-preview-tts", "Hello", "Kore", instructions="Softly")
    assert upstream.seen[0].path == "/v1/models/gemini-2.5-flash-preview-tts:generateContent"
    assert upstream.seen[0].body == {
        "contents": [{"role": "user", "parts": [{"text": "Softly: Hello"}]}],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        },
    }
    with wave.open(io.BytesIO(answer.content)) as heard:
        assert (heard.getframerate(), heard.getnchannels(), heard.readframes(100)) == (24000, 1, sound)
    assert client.call("speech", "gemini/tts", "Hello", "Kore", response_format="pcm").content == sound
    for voice, wanted, said in ((None, "wav", "needs one of its own voices"), ("Kore", "mp3", "produces wav or pcm")):
        with pytest.raises(headrace.UnsupportedParamsError, match=said):
            client.call("speech", "gemini/tts", "Hello", voice, response_format=wanted)


# ---- Bedrock -------------------------------------------------------------------------------------------------------------------------


def test_amazons_models_draw_what_their_task_says(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"images": [PNG]}))
    answer = client.call(
        "image_generation", "a mill", "bedrock/us-east-1/amazon.nova-canvas-v1:0", size="1024x768", quality="hd", seed=7, **AWS
    )
    [seen] = upstream.seen
    assert seen.path == "/v1/model/amazon.nova-canvas-v1%3A0/invoke"
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256")
    assert seen.body == {
        "taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a mill"},
        "imageGenerationConfig": {"numberOfImages": 1, "width": 1024, "height": 768, "quality": "premium", "seed": 7},
    }  # fmt: skip
    assert answer.data[0].b64_json == PNG


def test_stabilitys_models_draw_on_bedrock_as_at_home(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"images": [PNG], "seeds": [1], "finish_reasons": [None]}))
    client.call("image_generation", "a mill", "bedrock/stability.sd3-5-large-v1:0", size="1024x1024", negative_prompt="people", **AWS)
    assert upstream.seen[0].body == {"prompt": "a mill", "aspect_ratio": "1:1", "negative_prompt": "people"}
    upstream.answer(Reply({"finish_reasons": ["Filter reason: prompt"], "seeds": [1], "images": []}))
    with pytest.raises(headrace.ContentPolicyViolationError, match="Filter reason: prompt"):
        client.call("image_generation", "a mill", "bedrock/stability.sd3-5-large-v1:0", **AWS)


def test_bedrock_ranks_by_the_models_arn(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"results": [{"index": 1, "relevanceScore": 0.9}, {"index": 0, "relevanceScore": 0.2}]}))
    arn = "arn:aws:bedrock:eu-central-1::foundation-model/cohere.rerank-v3-5:0"
    answer = client.call("rerank", f"bedrock/{arn}", "Norway?", ["Paris", {"city": "Oslo"}], top_n=2, return_documents=True, **AWS)
    [seen] = upstream.seen
    assert seen.path == "/v1/rerank"
    assert seen.body["queries"] == [{"textQuery": {"text": "Norway?"}, "type": "TEXT"}]
    assert seen.body["rerankingConfiguration"]["bedrockRerankingConfiguration"] == {
        "modelConfiguration": {"modelArn": arn}, "numberOfResults": 2,
    }  # fmt: skip
    assert [it["inlineDocumentSource"]["type"] for it in seen.body["sources"]] == ["TEXT", "JSON"]
    assert [(it.index, it["relevance_score"]) for it in answer.results] == [(1, 0.9), (0, 0.2)]
    with pytest.raises(headrace.BadRequestError, match="give the model's ARN"):
        client.call("rerank", "bedrock/cohere.rerank-v3-5:0", "q", ["a"], **AWS)


def test_bedrock_ranks_at_the_agents_address() -> None:
    from headrace.dialects.base import Target
    from headrace.dialects.forms import form_of

    target = Target("bedrock", "cohere.rerank-v3-5:0", "https://bedrock-runtime.eu-central-1.amazonaws.com")
    asked = form_of("rerank", "bedrock").write({"model": target.model, "query": "q", "documents": ["a"]}, target)
    assert asked.url == "https://bedrock-agent-runtime.eu-central-1.amazonaws.com/rerank"
    assert b'"arn:aws:bedrock:eu-central-1::foundation-model/cohere.rerank-v3-5:0"' in asked.body


# ---- AssemblyAI ------------------------------------------------------------------------------------------------------------------------


def test_assemblyai_is_given_the_recording_and_asked_after_it(client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.polling.SLOWEST", 0.005)
    done = {
        "id": "t", "status": "completed", "text": "Hello.", "language_code": "en", "audio_duration": 2,
        "words": [{"text": "Hello.", "start": 100, "end": 900, "confidence": 0.9}],
    }  # fmt: skip
    upstream.answer(
        Reply({"upload_url": "https://cdn/1"}),
        Reply({"id": "t", "status": "queued"}),
        Reply({"id": "t", "status": "processing"}),
        Reply(done),
    )
    answer = client.call("transcription", "assemblyai/universal-2", b"sound", language="en", speaker_labels=True)
    assert [(seen.method, seen.path) for seen in upstream.seen] == [
        ("POST", "/v1/upload"), ("POST", "/v1/transcript"), ("GET", "/v1/transcript/t"), ("GET", "/v1/transcript/t"),
    ]  # fmt: skip
    assert upstream.seen[0].body == b"sound"
    assert upstream.seen[0].headers["authorization"] == "sk-test-1234567890"
    assert upstream.seen[1].body == {
        "audio_url": "https://cdn/1", "speech_models": ["universal-2"], "language_code": "en", "speaker_labels": True,
    }  # fmt: skip
    assert (answer.text, answer.language, answer.duration, answer.words[0]["end"]) == ("Hello.", "en", 2, 0.9)
    upstream.answer(Reply({"upload_url": "u"}), Reply({"id": "t", "status": "error", "error": "no speech"}))
    with pytest.raises(headrace.InternalServerError, match="no speech"):
        client.call("transcription", "assemblyai/universal-2", b"sound")
