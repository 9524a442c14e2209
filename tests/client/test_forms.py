"""Reranking, images, speech and fill-in-the-middle at providers with formats of their own; sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Seen, Upstream

import headrace
from headrace.destinations import destination

DOCUMENTS = ["Paris is in France", {"text": "Oslo is in Norway"}, {"city": "Rome"}]
TEXTS = ["Paris is in France", "Oslo is in Norway", '{"city":"Rome"}']


def rerank(client: Client, upstream: Upstream, model: str, answer: Any, **options: Any) -> tuple[Seen, list[Any]]:
    upstream.answer(Reply(answer))
    got = client.call("rerank", model, "Norway?", DOCUMENTS, **options)
    assert isinstance(got, headrace.RerankResponse)
    return upstream.seen[-1], [result.model_dump() for result in got.results]


RANKED = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]


def test_cohere_takes_texts(client: Client, upstream: Upstream) -> None:
    answer = {"id": "r", "results": RANKED, "meta": {"billed_units": {"search_units": 1}}}
    seen, results = rerank(client, upstream, "cohere/rerank-v3.5", answer, top_n=2, max_tokens_per_doc=99)
    assert seen.path == "/v1/rerank"
    assert seen.body == {"model": "rerank-v3.5", "query": "Norway?", "documents": TEXTS, "top_n": 2, "max_tokens_per_doc": 99}
    assert results == RANKED


def test_documents_come_back_where_they_were_asked_for(client: Client, upstream: Upstream) -> None:
    seen, results = rerank(client, upstream, "cohere/rerank-v3.5", {"results": RANKED}, return_documents=True)
    assert "return_documents" not in seen.body
    assert [result["document"] for result in results] == [{"text": "Oslo is in Norway"}, {"text": "Paris is in France"}]


def test_voyage_has_other_words(client: Client, upstream: Upstream) -> None:
    data = [{"index": 1, "relevance_score": 0.9, "document": "Oslo is in Norway"}]
    answer = {"object": "list", "data": data, "model": "rerank-2", "usage": {"total_tokens": 43}}
    seen, results = rerank(client, upstream, "voyage/rerank-2", answer, top_n=1, return_documents=True)
    assert seen.path == "/v1/rerank"
    assert seen.body == {"model": "rerank-2", "query": "Norway?", "documents": TEXTS, "top_k": 1, "return_documents": True}
    assert results == [{"index": 1, "relevance_score": 0.9, "document": {"text": "Oslo is in Norway"}}]


def test_a_text_embeddings_inference_server_gives_all_scores(client: Client, upstream: Upstream) -> None:
    answer = [{"index": 0, "score": 0.2}, {"index": 1, "score": 0.9}, {"index": 2, "score": 0.1}]
    seen, results = rerank(client, upstream, "huggingface/BAAI/bge-reranker-base", answer, top_n=2, truncate=True)
    assert seen.path == "/v1/rerank"
    assert seen.body == {"query": "Norway?", "texts": TEXTS, "truncate": True}
    assert results == RANKED


def test_nvidia_ranks_passages(client: Client, upstream: Upstream) -> None:
    answer = {"rankings": [{"index": 1, "logit": 3.5}, {"index": 0, "logit": -2}], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
    seen, results = rerank(client, upstream, "nvidia_nim/nvidia/llama-3_2-nv-rerankqa-1b-v2", answer, truncate="END")
    assert seen.path == "/v1/ranking"
    assert seen.body == {
        "model": "nvidia/llama-3.2-nv-rerankqa-1b-v2", "query": {"text": "Norway?"},
        "passages": [{"text": text} for text in TEXTS], "truncate": "END",
    }  # fmt: skip
    assert [(result["index"], result["relevance_score"]) for result in results] == [(1, 3.5), (0, -2.0)]


def test_deepinfra_gives_bare_scores(client: Client, upstream: Upstream) -> None:
    seen, results = rerank(client, upstream, "deepinfra/Qwen/Qwen3-Reranker-8B", {"scores": [0.2, 0.9, 0.1], "input_tokens": 7}, top_n=2)
    assert seen.path == "/v1/inference/Qwen/Qwen3-Reranker-8B"
    assert seen.body == {"queries": ["Norway?"] * 3, "documents": TEXTS}
    assert results == RANKED


def test_fireworks_and_dashscope_name_the_list_and_the_place_otherwise(client: Client, upstream: Upstream) -> None:
    seen, results = rerank(client, upstream, "fireworks_ai/qwen3-reranker-8b", {"object": "list", "data": RANKED})
    assert (seen.path, results) == ("/v1/rerank", RANKED)
    seen, results = rerank(client, upstream, "dashscope/qwen3-rerank", {"results": RANKED, "usage": {"total_tokens": 9}})
    assert (seen.path, results) == ("/v1/reranks", RANKED)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("nvidia_nim/nvidia/rerank-1", "https://ai.api.nvidia.com/v1/retrieval/nvidia/rerank-1/reranking"),
        ("deepinfra/Qwen/R", "https://api.deepinfra.com/v1/inference/Qwen/R"),
        ("dashscope/qwen3-rerank", "https://dashscope.aliyuncs.com/compatible-api/v1/reranks"),
        ("cohere/rerank-v3.5", "https://api.cohere.com/v2/rerank"),
    ],
)
def test_some_rerank_at_another_address_of_theirs(model: str, place: str) -> None:
    from headrace.calls import RERANK, prepare
    from headrace.writing import translation_of, write

    call = prepare(RERANK, model, "q", False, {"documents": ["a"]})
    to = destination(model, {"api_key": "k"})
    assert write(call, to, translation_of(call, to)).url == place


@pytest.mark.parametrize("answer", [{}, [], "no", {"results": [{"index": 0}]}, {"results": [1, "x"]}, {"data": {}}])
def test_what_is_no_ranking_is_a_bad_response(client: Client, upstream: Upstream, answer: Any) -> None:
    if answer == []:
        return  # no documents, no scores
    with pytest.raises(headrace.APIResponseValidationError, match="voyage: the response"):
        rerank(client, upstream, "voyage/rerank-2", answer)


def test_an_error_under_a_good_status_is_raised(client: Client, upstream: Upstream) -> None:
    with pytest.raises(headrace.InternalServerError, match="it broke"):
        rerank(client, upstream, "voyage/rerank-2", {"error": {"message": "it broke"}})


def test_a_refusal_is_raised_as_what_it_is(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"detail": "Provided API key is invalid."}, 401))
    with pytest.raises(headrace.AuthenticationError, match="API key is invalid"):
        client.call("rerank", "voyage/rerank-2", "q", ["a"])


# ---- images ------------------------------------------------------------------------------------------------------------------------


def form_fields(seen: Seen) -> dict[str, str]:
    boundary = seen.headers["content-type"].partition("boundary=")[2].encode()
    fields = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.strip(b"\r\n").partition(b"\r\n\r\n")
        fields[head.split(b'name="')[1].split(b'"')[0].decode()] = value.decode("latin-1")
    return fields


def test_stability_draws_from_a_form(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"image": "iVBORw0KGgo=", "finish_reason": "SUCCESS", "seed": 7}))
    got = client.call("image_generation", "a mill", model="stability/sd3.5-large", size="1792x1024", negative_prompt="people")
    assert got.data[0].b64_json == "iVBORw0KGgo="
    assert got.seed == 7
    [seen] = upstream.seen
    assert seen.path == "/v1/v2beta/stable-image/generate/sd3"
    assert seen.headers["accept"] == "application/json"
    assert form_fields(seen) == {
        "output_format": "png", "prompt": "a mill", "model": "sd3.5-large", "aspect_ratio": "16:9", "negative_prompt": "people",
    }  # fmt: skip
    client.call("image_generation", "a mill", model="stability/stable-image-ultra")
    assert upstream.seen[1].path.endswith("/generate/ultra")
    assert "model" not in form_fields(upstream.seen[1])


def test_an_image_that_stability_filtered_is_no_image(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"image": "", "finish_reason": "CONTENT_FILTERED"}))
    with pytest.raises(headrace.ContentPolicyViolationError):
        client.call("image_generation", "a mill", model="stability/core")
    with pytest.raises(headrace.UnsupportedParamsError, match="one image"):
        client.call("image_generation", "a mill", model="stability/core", n=2)


def test_fal_draws_what_its_model_takes(client: Client, upstream: Upstream) -> None:
    images = [{"url": "https://fal.media/a.png", "width": 512}, {"url": "data:image/png;base64,AAAA"}]
    upstream.answer(Reply({"images": images, "seed": 1}))
    got = client.call("image_generation", "a mill", model="fal_ai/fal-ai/flux/dev", n=2, size="512x768", num_inference_steps=4)
    assert [(image.url, image.b64_json) for image in got.data] == [("https://fal.media/a.png", None), (None, "AAAA")]
    [seen] = upstream.seen
    assert seen.path == "/v1/fal-ai/flux/dev"
    assert seen.headers["authorization"] == "Key sk-test-1234567890"
    assert seen.body == {"prompt": "a mill", "num_images": 2, "image_size": {"width": 512, "height": 768}, "num_inference_steps": 4}
    with pytest.raises(headrace.BadRequestError, match="size must be like"):
        client.call("image_generation", "a mill", model="fal_ai/fal-ai/flux/dev", size="big")


# ---- audio -------------------------------------------------------------------------------------------------------------------------

HEARD = {
    "metadata": {"duration": 1.5},
    "results": {
        "channels": [
            {
                "alternatives": [
                    {"transcript": "Hello there.", "words": [{"word": "hello", "punctuated_word": "Hello", "start": 0, "end": 1}]}
                ]
            }
        ]
    },
}


def test_deepgram_takes_the_recording_as_it_is(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(HEARD))
    got = client.call("transcription", "deepgram/nova-3", ("a.wav", b"RIFF"), language="en", smart_format=True, keyterm=["mill", "race"])
    assert (got.text, got.duration, got.language, got.words[0]["word"]) == ("Hello there.", 1.5, "en", "Hello")
    [seen] = upstream.seen
    assert seen.path == "/v1/listen?model=nova-3&language=en&smart_format=true&keyterm=mill&keyterm=race"
    assert seen.headers["authorization"] == "Token sk-test-1234567890"
    assert seen.headers["content-type"] == "audio/x-wav"
    assert seen.body == b"RIFF"


def test_deepgram_says_who_spoke(client: Client, upstream: Upstream) -> None:
    heard = json.loads(json.dumps(HEARD))
    best = heard["results"]["channels"][0]["alternatives"][0]
    best["words"][0]["speaker"] = 0
    best["paragraphs"] = {"transcript": "Speaker 0: Hello there."}
    upstream.answer(Reply(heard))
    assert client.call("transcription", "deepgram/nova-3", b"RIFF", diarize=True).text == "Speaker 0: Hello there."


def test_elevenlabs_listens(client: Client, upstream: Upstream) -> None:
    words = [{"text": "Hi", "start": 0, "end": 1, "type": "word"}, {"text": " ", "type": "spacing"}]
    upstream.answer(Reply({"language_code": "eng", "text": "Hi", "words": words}))
    got = client.call("transcription", "elevenlabs/scribe_v1", ("a.mp3", b"ID3"), language="en", diarize=True)
    assert (got.text, got.language, [word["word"] for word in got.words]) == ("Hi", "eng", ["Hi"])
    [seen] = upstream.seen
    assert seen.path == "/v1/v1/speech-to-text"
    assert seen.headers["xi-api-key"] == "sk-test-1234567890"
    assert form_fields(seen) == {"model_id": "scribe_v1", "language_code": "en", "diarize": "true", "file": "ID3"}


def test_elevenlabs_speaks(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"ID3", headers={"content-type": "audio/mpeg"}))
    options = {"response_format": "mp3", "speed": 1.1, "language_code": "en"}
    got = client.call("speech", "elevenlabs/eleven_multilingual_v2", "Hello.", "alloy", **options)
    assert got.content == b"ID3"
    [seen] = upstream.seen
    assert seen.path == "/v1/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM?output_format=mp3_44100_128"
    assert seen.body == {
        "text": "Hello.", "model_id": "eleven_multilingual_v2", "language_code": "en", "voice_settings": {"speed": 1.1},
    }  # fmt: skip
    client.call("speech", "elevenlabs/eleven_multilingual_v2", "Hello.", "own/voice")
    assert upstream.seen[1].path == "/v1/v1/text-to-speech/own%2Fvoice"
    with pytest.raises(headrace.UnsupportedParamsError, match="needs a voice"):
        client.call("speech", "elevenlabs/eleven_multilingual_v2", "Hello.")


def test_polly_speaks_for_whoever_signs(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"ID3", headers={"content-type": "audio/mpeg"}))
    keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "secret", "aws_region_name": "eu-central-1", "api_key": None}
    got = client.call("speech", "aws_polly/neural", "Hello.", "Joanna", response_format="opus", LanguageCode="en-US", **keys)
    assert got.content == b"ID3"
    [seen] = upstream.seen
    assert seen.path == "/v1/speech"
    assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA/")
    assert "/eu-central-1/polly/aws4_request" in seen.headers["authorization"]
    assert seen.body == {"Engine": "neural", "OutputFormat": "ogg_opus", "Text": "Hello.", "VoiceId": "Joanna", "LanguageCode": "en-US"}
    for options, named in ({"speed": 2.0}, "speed"), ({"response_format": "flac"}, "flac"):
        with pytest.raises(headrace.UnsupportedParamsError, match=named):
            client.call("speech", "aws_polly/neural", "Hello.", "Joanna", **options, **keys)


def test_azures_voices_are_asked_in_markup(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"RIFF", headers={"content-type": "audio/x-wav"}))
    got = client.call("speech", "azure_speech/tts", "1 < 2 & so on", "en-GB-RyanNeural", response_format="wav", speed=1.3)
    assert got.content == b"RIFF"
    [seen] = upstream.seen
    assert seen.path.endswith("/cognitiveservices/v1")
    assert seen.headers["x-microsoft-outputformat"] == "riff-24khz-16bit-mono-pcm"
    assert seen.headers["content-type"] == "application/ssml+xml"
    assert seen.headers["ocp-apim-subscription-key"].startswith("sk-test")
    assert seen.body.decode() == (
        '<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-GB"><voice name="en-GB-RyanNeural">'
        '<prosody rate="+30.00%">1 &lt; 2 &amp; so on</prosody></voice></speak>'
    )
    with pytest.raises(headrace.UnsupportedParamsError, match="needs one of its own voices"):
        client.call("speech", "azure_speech/tts", "Hello.")
    with pytest.raises(headrace.UnsupportedParamsError, match="aac"):
        client.call("speech", "azure_speech/tts", "Hello.", "en-GB-RyanNeural", response_format="aac")


# ---- fill-in-the-middle ------------------------------------------------------------------------------------------------------------

FILLED = {
    "id": "f", "object": "chat.completion", "created": 1, "model": "codestral-latest",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "return a + b"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12},
}  # fmt: skip


@pytest.mark.parametrize("model", ["mistral/codestral-latest", "text-completion-codestral/codestral-latest"])
def test_mistral_fills_in_the_middle(client: Client, upstream: Upstream, model: str) -> None:
    upstream.answer(Reply(FILLED))
    got = client.call("text_completion", model, "def add(a, b):", suffix="print(add(1, 2))", max_tokens=9, seed=3)
    assert got.choices[0].text == "return a + b"
    assert got.usage.total_tokens == 12
    [seen] = upstream.seen
    assert seen.path == "/v1/fim/completions"
    assert seen.body["suffix"] == "print(add(1, 2))"
    assert (seen.body["prompt"], seen.body["max_tokens"], seen.body["random_seed"]) == ("def add(a, b):", 9, 3)
    with pytest.raises(headrace.UnsupportedParamsError, match=r"logprobs"):
        client.call("text_completion", model, "def", logprobs=3)


def test_mistral_fills_in_the_middle_piece_by_piece(client: Client, upstream: Upstream) -> None:
    deltas = [{"index": 0, "delta": {"content": text}, "finish_reason": finish} for text, finish in (("ret", None), ("urn", "stop"))]
    pieces: list[Any] = [b"data: " + json.dumps({**FILLED, "choices": [delta]}).encode() + b"\n\n" for delta in deltas]
    upstream.answer(Reply(pieces=[*pieces, b"data: [DONE]\n\n"]))
    chunks = client.call("text_completion", "mistral/codestral-latest", "def", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "return"
    upstream.answer(Reply(pieces=pieces[:1]))
    with pytest.raises(headrace.TruncatedStream):
        client.call("text_completion", "mistral/codestral-latest", "def", stream=True)


# ---- lists of models ---------------------------------------------------------------------------------------------------------------


def test_anthropics_models_are_listed_in_openais_words_and_its_own(client: Client, upstream: Upstream) -> None:
    told = {"type": "model", "id": "claude-1", "display_name": "Claude", "created_at": "1970-01-02T00:00:00Z"}
    upstream.answer(Reply({"data": [told], "has_more": True, "first_id": "claude-1", "last_id": "claude-1"}))
    page = client.call("list_models", "anthropic", limit=1, after="claude-0")
    assert (upstream.seen[0].method, upstream.seen[0].path) == ("GET", "/v1/models?limit=1&after_id=claude-0")
    assert upstream.seen[0].headers["anthropic-version"] == "2023-06-01"
    assert page.data[0] == {**told, "object": "model", "created": 86400, "owned_by": "anthropic"}
    assert page.has_more is True


def test_geminis_models_are_listed_page_by_page(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"models": [{"name": "models/gemini-1", "inputTokenLimit": 8}], "nextPageToken": "t"}))
    page = client.call("list_models", "gemini", limit=1, after="s")
    assert upstream.seen[0].path.endswith("/models?pageSize=1&pageToken=s")
    assert page.data[0]["id"] == "gemini-1"
    assert page.data[0]["inputTokenLimit"] == 8
    assert (page.has_more, page["nextPageToken"]) == (True, "t")


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_what_is_no_list_of_models_is_a_bad_response(client: Client, upstream: Upstream, provider: str) -> None:
    upstream.answer(Reply({"data": [1], "models": 7}))
    with pytest.raises(headrace.APIResponseValidationError):
        client.call("list_models", provider)
