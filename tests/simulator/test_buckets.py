"""Files in the clouds' buckets, and batches of them from the caller's file to his answers, at simulated clouds; in both colours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Batch, FileObject
from tests.simulator.conftest import KEY, fleet, quick
from tests.simulator.test_keeping import Caller, chat, written

import headrace
from headrace import polling
from headrace.dialects.base import Target
from headrace.dialects.forms import kept_gcs, uploads
from headrace.dialects.forms.cloud_lines import Answers, bedrocks, openais
from headrace.multipart import FormFile
from headrace.providers import cloud_auth, cloud_credentials
from headrace.simulator.asks import Rejected
from headrace.simulator.buckets import Asked, Buckets, Told
from headrace.simulator.server import Running, running
from headrace.slices import at_once
from headrace.wire import Headers, HttpResponse

SECRET = "a-secret-of-forty-characters-made-up-here"
ROLE = "arn:aws:iam::123456789012:role/batch"
CHATS = "/v1/chat/completions"
MODELS = ("gpt-sim", "anthropic.claude-sim-v1:0", "claude-sim@1", "amazon.sim-v1:0", "amazon.titan-embed-sim-v2:0", "gemini-embedding-sim")


@pytest.fixture(scope="module")
def base() -> Iterator[Running]:
    rules = {"rpm": 2, "api_keys": (KEY,), "secret_keys": {KEY: SECRET}, "buckets": ("mill", "sink"), "models": MODELS}
    with running(fleet(quick("a", **rules))) as made:
        yield made


@pytest.fixture(autouse=True)
def nobodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of Google's that the simulator takes, and nothing of this machine's own."""
    for name in ("AWS_S3_BUCKET_NAME", "AWS_S3_OUTPUT_BUCKET_NAME", "GCS_BUCKET_NAME", "GCS_BATCH_BUCKET_NAME", "AWS_REGION_NAME",
                 "AWS_REGION", "AWS_DEFAULT_REGION", "STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL_S3", "AWS_BATCH_ROLE_ARN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    made = SimpleNamespace(token="", expiry=None)
    made.refresh = lambda _: setattr(made, "token", KEY)
    monkeypatch.setattr(cloud_credentials, "_google_credentials", lambda given: made)
    monkeypatch.setattr(cloud_credentials, "_google_request", lambda: None)
    cloud_auth._signer.cache_clear()


@pytest.fixture(params=["async", "sync"])
def call(request: pytest.FixtureRequest, base: Running) -> Caller:
    return Caller(request.param, base)


class Cloud:
    """How a cloud is asked: its provider's name, and what a deployment of it says."""

    def __init__(self, base: Running, provider: str) -> None:
        root = base.url("a").removesuffix("/v1")
        self.provider = provider
        self.scheme = "s3" if provider == "bedrock" else "gs"
        self.own = "amazon.sim-v1:0" if provider == "bedrock" else "gpt-sim"
        self.claude = "anthropic.claude-sim-v1:0" if provider == "bedrock" else "claude-sim@1"
        aws = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_region_name": "eu-central-1", "aws_batch_role_arn": ROLE}
        google = {"vertex_credentials": "{}", "vertex_project": "p", "vertex_location": "us-central1"}
        places = {"bedrock": {"s3_endpoint_url": f"{root}/s3", "s3_bucket_name": "mill"},
                  "vertex_ai": {"gcs_endpoint_url": root, "gcs_bucket_name": "mill"}}[provider]  # fmt: skip
        address = root if provider == "bedrock" else f"{root}/v1/projects/p/locations/us-central1"
        self.way: dict[str, Any] = {"base_url": address, "api_key": None, **(aws if provider == "bedrock" else google), **places}


@pytest.fixture(params=["bedrock", "vertex_ai"])
def cloud(request: pytest.FixtureRequest, base: Running) -> Cloud:
    return Cloud(base, request.param)


def calls_of(model: str, path: Path, count: int = 3, **more: Any) -> Path:
    """The last one asks for more than there is."""
    most = [9] * (count - 1) + [10**9]
    return written(path / "calls.jsonl", *(chat(number, model=model, max_tokens=most[number], **more) for number in range(count)))


@pytest.mark.parametrize("kind", ["own", "claude"])
def test_a_file_of_calls_becomes_a_file_of_answers_in_ones_own_bucket(call: Caller, cloud: Cloud, kind: str, tmp_path: Path) -> None:
    """All in OpenAI's lines, whatever stands in the bucket; more calls than a minute's limit holds."""
    file = call("create_file", calls_of(getattr(cloud, kind), tmp_path), "batch", cloud.provider, **cloud.way)
    FileObject.model_validate(file.model_dump())
    assert file.id.startswith(f"{cloud.scheme}://mill/litellm-")
    assert (file.filename, file.purpose, file.bytes > 300) == ("calls.jsonl", "batch", True)
    batch = call("create_batch", "24h", CHATS, file.id, cloud.provider, **cloud.way)
    done = call("retrieve_batch", batch.id, cloud.provider, **cloud.way)
    Batch.model_validate(done.model_dump())
    assert (done.status, done.input_file_id) == ("completed", file.id)
    assert done.request_counts == {"total": 3, "completed": 2, "failed": 1}
    told = call("file_content", done.output_file_id, cloud.provider, **cloud.way).text
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["custom_id"] for line in lines] == ["q-0", "q-1", "q-2"]
    for line in lines[:2]:
        answer = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
        assert answer.choices[0].message.content
        assert answer.usage is not None
        assert 0 < answer.usage.completion_tokens <= 9
    assert lines[2]["response"]["status_code"] == 400
    assert "max_tokens" in lines[2]["response"]["body"]["error"]["message"]


def test_a_file_of_texts_becomes_their_embeddings_on_bedrock(call: Caller, base: Running, tmp_path: Path) -> None:
    cloud, model = Cloud(base, "bedrock"), "amazon.titan-embed-sim-v2:0"
    asked = [{**chat(number), "url": "/v1/embeddings", "body": {"model": model, "input": f"mill {number}"}} for number in range(2)]
    asked[1]["body"] |= {"dimensions": 256}
    kept = call("create_file", written(tmp_path / "texts.jsonl", *asked), "batch", "bedrock", **cloud.way)
    rows = [json.loads(row) for row in call("file_content", kept.id, "bedrock", **cloud.way).content.splitlines()]
    assert rows[1] == {"recordId": "q-1", "modelInput": {"inputText": "mill 1", "dimensions": 256}}
    batch = call("create_batch", "24h", "/v1/embeddings", kept.id, "bedrock", **cloud.way)
    done = call("retrieve_batch", batch.id, "bedrock", **cloud.way)
    assert done.request_counts == {"total": 2, "completed": 2, "failed": 0}
    told = call("file_content", done.output_file_id, "bedrock", **cloud.way).text
    for number, line in enumerate(map(json.loads, told.splitlines())):
        answer = openai.types.CreateEmbeddingResponse.model_validate(line["response"]["body"])
        assert (line["custom_id"], answer.usage.prompt_tokens > 0) == (f"q-{number}", True)
        assert number == 0 or len(answer.data[0].embedding) == 256


def texts_for(model: str, path: Path, *more: dict[str, Any]) -> Path:
    """A line for each of `more`, what its body says besides."""
    bodies = [{"model": model, "input": f"mill {number}", **said} for number, said in enumerate(more)]
    return written(path / "texts.jsonl", *({**chat(n), "url": "/v1/embeddings", "body": body} for n, body in enumerate(bodies)))


def test_a_file_of_texts_becomes_their_embeddings_on_vertex(call: Caller, base: Running, tmp_path: Path) -> None:
    """Google's lines have a key for a call's id, whatever characters it has; options stand beside the content."""
    cloud = Cloud(base, "vertex_ai")
    file = texts_for("gemini-embedding-sim", tmp_path, {}, {"dimensions": 256, "task_type": "RETRIEVAL_QUERY"}, {"input": [""]})
    kept = call("create_file", file, "batch", "vertex_ai", **cloud.way)
    assert "/publishers/google/models/gemini-embedding-sim/" in kept.id
    rows = [json.loads(row) for row in call("file_content", kept.id, "vertex_ai", **cloud.way).content.splitlines()]
    said = {"content": {"parts": [{"text": "mill 1"}]}, "output_dimensionality": 256, "task_type": "RETRIEVAL_QUERY"}
    assert rows[1] == {"key": "q-1", "request": said}
    batch = call("create_batch", "24h", "/v1/embeddings", kept.id, "vertex_ai", **cloud.way)
    done = call("retrieve_batch", batch.id, "vertex_ai", **cloud.way)
    assert done.request_counts == {"total": 3, "completed": 2, "failed": 1}
    lines = [json.loads(line) for line in call("file_content", done.output_file_id, "vertex_ai", **cloud.way).text.splitlines()]
    assert [line["custom_id"] for line in lines] == ["q-0", "q-1", "q-2"]
    answers = [openai.types.CreateEmbeddingResponse.model_validate(line["response"]["body"]) for line in lines[:2]]
    assert [answer.usage.prompt_tokens > 0 for answer in answers] == [True, True]
    assert len(answers[1].data[0].embedding) == 256
    assert lines[2]["response"]["status_code"] == 400


def test_a_word_that_vertexs_embeddings_have_not_fails_the_whole_batch(call: Caller, base: Running, tmp_path: Path) -> None:
    """That it does is what litellm's makers found of `embed_content_config`, which Google's page has."""
    cloud = Cloud(base, "vertex_ai")
    file = texts_for("gemini-embedding-sim", tmp_path, {}, {"embed_content_config": {"title": "a"}})
    batch = call("create_batch", "24h", "/v1/embeddings", file, "vertex_ai", model="vertex_ai/gemini-embedding-sim", **cloud.way)
    done = call("retrieve_batch", batch.id, "vertex_ai", **cloud.way)
    assert done.status == "failed"
    assert "embed_content_config" in done.errors["data"][0]["message"]


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ("text-embedding-005", {}, "line 1 calls '/v1/embeddings'; vertex_ai accepts /v1/chat/completions in files"),
        ("gemini-embedding-sim", {"input": ["a", "b"]}, "line 1: input must be a single string"),
    ],
)
def test_texts_that_vertex_cannot_embed_in_a_batch_are_refused_by_their_line(
    call: Caller, base: Running, model: str, more: Any, says: str, tmp_path: Path
) -> None:
    with pytest.raises(headrace.BadRequestError, match=says):
        call("create_file", texts_for(model, tmp_path, more), "batch", "vertex_ai", **Cloud(base, "vertex_ai").way)


def test_tokens_of_vertexs_embeddings_are_read_as_googles_page_has_them() -> None:
    told = {"key": "a b/1", "status": "", "request": {}, "response": {"embedding": {"values": [0.5, 0.25]}, "tokenCount": 3}}
    answer = json.loads(at_once(openais(json.dumps(told).encode(), Target("vertex_ai", "-"))))
    assert (answer["custom_id"], answer["response"]["body"]["usage"]["prompt_tokens"]) == ("a b/1", 3)


def test_novas_embeddings_are_asked_for_and_read_in_its_own_words(tmp_path: Path) -> None:
    model = "amazon.nova-2-multimodal-embeddings-v1:0"
    call = {**chat(0), "url": "/v1/embeddings", "body": {"model": f"bedrock/{model}", "input": "mill", "dimensions": 256}}
    [row] = bedrocks(FormFile(written(tmp_path / "texts.jsonl", call), "file"), Target("bedrock", "-"))
    line = json.loads(row.line)
    assert (row.model, line["modelInput"]["singleEmbeddingParams"]["embeddingDimension"]) == (model, 256)
    told = {**line, "modelOutput": {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5, 0.25]}]}}
    answer = json.loads(at_once(openais(json.dumps(told).encode(), Target("bedrock", "-"))))
    assert (answer["custom_id"], answer["response"]["body"]["data"][0]["embedding"]) == ("q-0", [0.5, 0.25])


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ("amazon.titan-embed-sim-v2:0", {"url": "/v1/chat/completions"}, "line 1 calls .* bedrock accepts /v1/embeddings for amazon.titan"),
        ("amazon.sim-v1:0", {"url": "/v1/embeddings"}, "line 1 calls .* bedrock accepts /v1/chat/completions in files"),
        ("amazon.titan-embed-sim-v2:0", {"url": "/v1/embeddings"}, "line 1: input must be a single string"),
    ],
)
def test_a_line_that_a_model_cannot_answer_is_named(call: Caller, base: Running, model: str, more: Any, says: str, tmp_path: Path) -> None:
    file = written(tmp_path / "texts.jsonl", {**chat(0), **more, "body": {"model": model, "input": ["a", "b"], "messages": []}})
    with pytest.raises(headrace.BadRequestError, match=says):
        call("create_file", file, "batch", "bedrock", **Cloud(base, "bedrock").way)


def test_a_file_itself_is_put_there_and_ordered_at_once(call: Caller, cloud: Cloud, tmp_path: Path) -> None:
    calls = calls_of(cloud.own, tmp_path)
    batch = call("create_batch", "24h", CHATS, calls, cloud.provider, model=f"{cloud.provider}/{cloud.own}", **cloud.way)
    done = call("retrieve_batch", batch.id, cloud.provider, **cloud.way)
    assert (done.status, done.input_file_id.startswith(f"{cloud.scheme}://mill/")) == ("completed", True)


def test_any_file_is_kept_shown_listed_given_back_and_deleted(call: Caller, cloud: Cloud) -> None:
    """Larger than what is held in memory of an upload; a name that no address can have as it is."""
    content = b"\x00mill\n" * 60_000
    way = {**cloud.way, **{name: "mill/notes of/mine" for name in ("s3_bucket_name", "gcs_bucket_name") if name in cloud.way}}
    kept = call("create_file", ("räd & rinne.bin", io.BytesIO(content), "application/x-mill"), "user_data", cloud.provider, **way)
    assert kept.id.startswith(f"{cloud.scheme}://mill/notes of/mine/litellm-")
    shown = call("file_retrieve", kept.id, cloud.provider, **way)
    for file in (kept, shown):
        FileObject.model_validate(file.model_dump())
        assert (file.id, file.bytes, file.filename, file.purpose) == (kept.id, len(content), "räd & rinne.bin", "user_data")
        assert file.created_at > 1_700_000_000
    assert call("file_content", kept.id, cloud.provider, **way).content == content
    other = call("create_file", b"more", "user_data", cloud.provider, **way)
    first = call("file_list", cloud.provider, limit=1, **way)
    rest = call("file_list", cloud.provider, after=first.data[0]["id"], **way)
    assert first.has_more
    assert {kept.id, other.id} <= {file["id"] for file in [*first.data, *rest.data]}
    assert first.data[0]["id"] not in [file["id"] for file in rest.data]
    for id in (kept.id, other.id):
        gone = call("file_delete", id, cloud.provider, **way)
        assert (gone.id, gone.deleted) == (id, True)
    with pytest.raises(headrace.NotFoundError):
        call("file_content", kept.id, cloud.provider, **way)


def test_answers_may_go_to_another_bucket_and_are_listed_there(call: Caller, base: Running, tmp_path: Path) -> None:
    cloud = Cloud(base, "bedrock")
    way = {**cloud.way, "s3_output_bucket_name": "sink"}
    batch = call("create_batch", "24h", CHATS, calls_of(cloud.own, tmp_path), "bedrock", model=cloud.own, **way)
    output = call("retrieve_batch", batch.id, "bedrock", **way).output_file_id
    assert output.startswith("s3://sink/litellm-batch-outputs/")
    assert output in [file["id"] for file in call("file_list", "bedrock", purpose="batch_output", **way).data]
    assert len(call("file_content", output, "bedrock", **way).text.splitlines()) == 3


NEITHER = {"s3_bucket_name": None, "gcs_bucket_name": None}


@pytest.mark.parametrize(
    ("name", "given", "options", "says"),
    [
        ("create_file", b"x", NEITHER, "own bucket: pass (s3_bucket_name|gcs_bucket_name)="),
        ("create_file", b"x", {"s3_bucket_name": "s3://mill", "gcs_bucket_name": "gs://mill"}, "(s3|gcs)_bucket_name must be a bucket"),
        ("create_file", b"x", {"s3_bucket_name": "mill/../x", "gcs_bucket_name": "mill/../x"}, "(s3|gcs)_bucket_name must be a bucket"),
        ("create_file", b"", {}, "file is empty"),
        ("create_file", b"x", {"s3_endpoint_url": "ftp://x", "gcs_endpoint_url": "ftp://x"}, "endpoint_url must begin with http"),
        ("file_content", "file-1", {}, "a file id must be (s3|gs)://bucket/name"),
        ("file_content", "{scheme}://other/x", {}, "files are only stored in (s3|gs)://mill/"),
        (
            "file_delete",
            "{scheme}://mill/x",
            {"s3_bucket_name": "mill/in", "gcs_bucket_name": "mill/in"},
            "stored in (s3|gs)://mill/in/",
        ),
        ("file_retrieve", "{scheme}://mill/in/../x", {"s3_bucket_name": "mill/in", "gcs_bucket_name": "mill/in"}, "a file id must be"),
        ("file_retrieve", "{scheme}://mill/x", NEITHER, "own bucket: pass"),
    ],
)
def test_bad_input_is_refused_by_name_before_anything_is_sent(
    call: Caller, cloud: Cloud, name: str, given: Any, options: Any, says: str
) -> None:
    what = given.replace("{scheme}", cloud.scheme) if isinstance(given, str) else given
    way = {**cloud.way, **options}
    way["base_url"] = "http://127.0.0.1:9"  # where nobody listens
    arguments = (what, "user_data") if name == "create_file" else (what,)
    with pytest.raises(headrace.BadRequestError, match=says) as refused:
        call(name, *arguments, cloud.provider, **way)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"s3_region_name": "evil.example/"}, "s3_region_name must be a region such as eu-central-1, got 'evil.example/'"),
        ({"aws_region_name": None}, "pass s3_region_name="),
    ],
)
def test_a_bucket_has_a_region_that_can_be_read(call: Caller, base: Running, options: Any, says: str) -> None:
    way = {**Cloud(base, "bedrock").way, "api_key": KEY, **options}
    with pytest.raises(headrace.BadRequestError, match=says):
        call("create_file", b"x", "user_data", "bedrock", **way)


def test_one_key_of_s3s_pair_is_not_enough(call: Caller, base: Running) -> None:
    with pytest.raises(headrace.ConfigurationError, match="s3_access_key_id was given without s3_secret_access_key"):
        call("create_file", b"x", "user_data", "bedrock", **Cloud(base, "bedrock").way, s3_access_key_id=KEY)


def test_a_key_of_bedrocks_does_not_go_to_s3_whose_own_pair_does(call: Caller, base: Running) -> None:
    way = Cloud(base, "bedrock").way
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        del way[name]
    pair = {"s3_access_key_id": KEY, "s3_secret_access_key": SECRET}
    kept = call("create_file", b"x", "user_data", "bedrock", **{**way, "api_key": "bedrock-key-of-somebody", **pair})
    assert kept.bytes == 1


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"aws_secret_access_key": "another-secret-that-is-wrong"}, headrace.AuthenticationError, "signature we calculated"),
        ({"s3_bucket_name": "nobodys"}, headrace.NotFoundError, "bucket does not exist"),
        ({"s3_bucket_owner": "999999999999"}, headrace.PermissionDeniedError, "Access Denied"),
    ],
)
def test_what_s3_refuses_is_told_in_its_words_and_without_secrets(call: Caller, base: Running, options: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says) as refused:
        call("create_file", b"x", "user_data", "bedrock", **{**Cloud(base, "bedrock").way, **options})
    for secret in (SECRET, "another-secret-that-is-wrong"):
        assert secret not in f"{refused.value!r} {refused.value}"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([{}, {"model": "other"}], "line 2 is for 'other'"),
        ([{"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}], "line 1 has tools"),
    ],
)
def test_a_line_that_bedrock_would_not_take_is_named(call: Caller, base: Running, lines: Any, says: str, tmp_path: Path) -> None:
    cloud = Cloud(base, "bedrock")
    file = written(tmp_path / "calls.jsonl", *(chat(number, **{"model": cloud.own, **more}) for number, more in enumerate(lines)))
    with pytest.raises(headrace.BadRequestError, match=says):
        call("create_file", file, "batch", "bedrock", **cloud.way)


def test_ids_of_any_length_and_letters_come_back_from_vertex(call: Caller, base: Running, tmp_path: Path) -> None:
    """Gemini's lines have no place for them but labels of 63 small letters each."""
    cloud, ids = Cloud(base, "vertex_ai"), ["A b/ü", "x" * 200, "q"]
    file = written(tmp_path / "calls.jsonl", *({**chat(0, model=cloud.own), "custom_id": id} for id in ids))
    batch = call("create_batch", "24h", CHATS, file, "vertex_ai", model=cloud.own, **cloud.way)
    done = call("retrieve_batch", batch.id, "vertex_ai", **cloud.way)
    told = call("file_content", done.output_file_id, "vertex_ai", **cloud.way).text.splitlines()
    lines = [json.loads(line) for line in told]
    assert [(line["custom_id"], line["response"]["status_code"]) for line in lines] == [(id, 200) for id in ids]


# ---- large files -------------------------------------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * (48 << 10) + b"the end"  # 12 MiB and a little


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the least size that S3 takes, and short pauses."""
    for module in (uploads, kept_gcs):
        monkeypatch.setattr(module, "PART", 5 << 20)
    monkeypatch.setattr(polling, "SLOWEST", 0.02)


@pytest.fixture
def buckets(base: Running) -> Buckets:
    call = Caller("sync", base)
    call("create_file", b"x", "user_data", "bedrock", **Cloud(base, "bedrock").way)
    made = base.simulator.fleet.providers["a"]._buckets
    made._uploads.clear()
    return made


def nothing_is_left(buckets: Buckets) -> bool:
    """Soon: what is given up is taken back beside its caller."""
    for _ in range(1000):
        if not buckets.unfinished:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("kind", ["bytes", "path", "open"])
def test_a_large_file_goes_up_in_parts_and_is_one(call: Caller, cloud: Cloud, buckets: Buckets, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(b"before" + LARGE if kind == "open" else LARGE)
    with path.open("rb") as opened:
        opened.seek(6)
        kept = call("create_file", {"bytes": LARGE, "path": path, "open": opened}[kind], "user_data", cloud.provider, **cloud.way)
    assert (kept.bytes, kept.filename) == (len(LARGE), "upload" if kind == "bytes" else "large.bin")
    shown = call("file_retrieve", kept.id, cloud.provider, **cloud.way)
    assert (shown.bytes, shown.filename, shown.purpose) == (len(LARGE), kept.filename, "user_data")
    assert call("file_content", kept.id, cloud.provider, **cloud.way).content == LARGE
    assert not buckets.unfinished


@pytest.mark.usefixtures("in_parts")
def test_a_part_that_went_wrong_is_sent_again(call: Caller, cloud: Cloud, buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third request is answered that there is trouble; of a session it is asked then how far it got."""
    asked: list[str] = []

    def troubled(name: str) -> None:
        good = getattr(Buckets, name)

        def reply(self: Buckets, asked_for: Asked) -> Any:
            asked.append(asked_for.headers.get("content-range", asked_for.raw_query))
            if len(asked) % 3 == 1:
                raise Rejected(503, "Please reduce your request rate.", code="SlowDown")
            return good(self, asked_for)

        monkeypatch.setattr(Buckets, name, reply)

    troubled("_put_part" if cloud.provider == "bedrock" else "_session")
    kept = call("create_file", LARGE, "user_data", cloud.provider, **cloud.way)
    assert len(asked) >= 5
    assert call("file_content", kept.id, cloud.provider, **cloud.way).content == LARGE
    assert not buckets.unfinished


@pytest.mark.usefixtures("in_parts")
def test_nothing_is_left_of_an_upload_whose_part_is_refused(
    call: Caller, cloud: Cloud, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 would charge for the parts that are there."""

    def refuse(self: Buckets, asked: Asked) -> Any:
        if asked.method == "DELETE":
            return good(self, asked)
        if asked.query.get("partNumber") == "2" or asked.headers.get("content-range", "").startswith(f"bytes {5 << 20}-"):
            raise Rejected(403, "No more of this.", code="AccessDenied")
        return good(self, asked)

    name = "_put_part" if cloud.provider == "bedrock" else "_session"
    good = getattr(Buckets, name)
    monkeypatch.setattr(Buckets, name, refuse)
    with pytest.raises(headrace.PermissionDeniedError, match="No more of this"):
        call("create_file", LARGE, "user_data", cloud.provider, **cloud.way)
    assert not buckets.unfinished


@pytest.mark.usefixtures("in_parts")
def test_an_upload_that_ended_though_nobody_heard_is_no_failure(
    call: Caller, cloud: Cloud, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 knows it no more, its object does; a session is asked how far it got, and says that it has ended."""
    name = "_complete" if cloud.provider == "bedrock" else "_google_object"
    good, heard = getattr(Buckets, name), []

    def unheard(self: Buckets, *asked: Any) -> Any:
        told = good(self, *asked)
        heard.append(told)
        if len(heard) == 1:
            if cloud.provider == "vertex_ai":
                self._ended[asked[0].query["upload_id"]] = told
            raise Rejected(503, "The answer is lost.", code="SlowDown")
        return told

    monkeypatch.setattr(Buckets, name, unheard)
    kept = call("create_file", LARGE, "user_data", cloud.provider, **cloud.way)
    assert len(heard) == 1
    assert kept.bytes == len(LARGE)
    assert call("file_content", kept.id, cloud.provider, **cloud.way).content == LARGE
    assert not buckets.unfinished


@pytest.mark.usefixtures("in_parts")
def test_an_upload_that_s3_has_forgotten_is_a_failure_where_its_object_is_another(
    call: Caller, base: Running, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there, or not of so many parts."""
    left: list[str] = []

    def forgotten(self: Buckets, asked: Asked) -> Any:
        if self._uploads.pop(asked.query["uploadId"], None) and len(left) == 0:
            self.put("s3://{bucket}/{name}".format_map(asked.parts), LARGE, asked.now)
        left.append(asked.path)
        raise Rejected(404, "The specified upload does not exist.", code="NoSuchUpload")

    monkeypatch.setattr(Buckets, "_complete", forgotten)
    for _ in range(2):
        with pytest.raises(headrace.NotFoundError, match="The specified upload does not exist"):
            call("create_file", LARGE, "user_data", "bedrock", **Cloud(base, "bedrock").way)


@pytest.mark.usefixtures("in_parts")
def test_an_error_that_s3_tells_under_a_good_status_is_one(call: Caller, base: Running, buckets: Buckets, monkeypatch: Any) -> None:
    body = b'\n <?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>'
    monkeypatch.setattr(Buckets, "_complete", lambda *_: Told(body, kind=("content-type", "application/xml")))
    with pytest.raises(headrace.InternalServerError, match="We encountered an internal error"):
        call("create_file", LARGE, "user_data", "bedrock", **Cloud(base, "bedrock").way)
    assert not buckets.unfinished


@pytest.mark.usefixtures("in_parts")
def test_nothing_is_left_of_an_upload_whose_caller_leaves(cloud: Cloud, base: Running, buckets: Buckets) -> None:
    async def leave() -> bool:
        way = {"base_url": base.url("a"), "num_retries": 0, **cloud.way}
        asking = asyncio.ensure_future(headrace.acreate_file(Leaving(lambda: asking.cancel()), "user_data", cloud.provider, **way))
        with pytest.raises(asyncio.CancelledError):
            await asking
        return await asyncio.to_thread(nothing_is_left, buckets)

    assert asyncio.run(leave())


@pytest.mark.usefixtures("in_parts")
def test_nothing_is_left_of_an_upload_that_is_interrupted(cloud: Cloud, base: Running, buckets: Buckets) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Caller("sync", base)("create_file", Leaving(interrupt), "user_data", cloud.provider, **cloud.way)
    assert nothing_is_left(buckets)


class Leaving(io.BytesIO):
    """A large file whose reader has something else to do while its second part is sent."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__(LARGE)
        self._then = then
        self._begun = 0

    def seek(self, at: int, whence: int = 0) -> int:
        self._begun += whence == 0 and at > 0
        return super().seek(at, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self._begun:
            self._then()
        return super().read(size)


def streamed(colour: str, ask: Callable[..., Any], *args: Any, **options: Any) -> list[bytes]:
    """The pieces of a file. ask: the function of the colour."""
    if colour == "sync":
        return list(ask(*args, stream=True, **options))

    async def read() -> list[bytes]:
        return [piece async for piece in await ask(*args, stream=True, **options)]

    return asyncio.run(read())


@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.usefixtures("in_parts")
def test_a_file_larger_than_an_answer_may_be_is_read_piece_by_piece(base: Running, cloud: Cloud, colour: str, buckets: Buckets) -> None:
    content = LARGE * 6
    address = f"{cloud.scheme}://mill/litellm-bedrock-files/large"
    buckets.put(address, content, 1)
    way = {"base_url": base.url("a"), "num_retries": 0, **cloud.way}
    with pytest.raises(headrace.APIResponseValidationError, match=r"larger than allowed.*stream=True"):
        headrace.file_content(address, cloud.provider, **way)
    ask = headrace.file_content if colour == "sync" else headrace.afile_content
    pieces = streamed(colour, ask, address, cloud.provider, **way)
    assert max(map(len, pieces)) < 2 << 20
    assert b"".join(pieces) == content
    with pytest.raises(headrace.NotFoundError):
        streamed(colour, ask, f"{address}-not", cloud.provider, **way)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_batchs_answers_are_read_line_by_line_in_openais_words(base: Running, cloud: Cloud, colour: str, tmp_path: Path) -> None:
    way = {"base_url": base.url("a"), "num_retries": 0, **cloud.way}
    batch = headrace.create_batch("24h", CHATS, calls_of(cloud.own, tmp_path, 40), cloud.provider, model=cloud.own, **way)
    output = headrace.retrieve_batch(batch.id, cloud.provider, **way).output_file_id
    whole = headrace.file_content(output, cloud.provider, **way).content
    ask = headrace.file_content if colour == "sync" else headrace.afile_content
    told = b"".join(streamed(colour, ask, output, cloud.provider, **way))
    assert [without_moments(line) for line in told.splitlines()] == [without_moments(line) for line in whole.splitlines()]
    assert len(told.splitlines()) == 40


def without_moments(line: bytes) -> Any:
    """A result is made into an answer when it is read."""
    told = json.loads(line)
    (told["response"]["body"] or {}).pop("created", None)
    return told


ANSWERED = json.dumps({"recordId": "q", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "no"}}).encode()


@given(
    content=st.sampled_from((b"", b"\n\n", b"plain", b"a\nb\n", b"{}", b'{"a": 1}\n', b"\n" + ANSWERED, ANSWERED + b"\n\n" + ANSWERED)),
    sizes=st.lists(st.integers(1, 50)),
)
def test_a_file_is_the_same_however_its_bytes_come(content: bytes, sizes: list[int]) -> None:
    target = Target("bedrock", "-")
    answers, left, told = Answers(target), content, b""
    for size in sizes:
        told += answers.feed(left[:size]) if left else b""
        left = left[size:]
    told += answers.feed(left) + answers.close()
    assert told == at_once(openais(content, target))


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    """In a file of answers; any other is handed on."""
    answers, plain = Answers(Target("bedrock", "-")), Answers(Target("bedrock", "-"))
    piece = b"{" + bytes(1 << 20)
    for told in (ANSWERED + b"\n", *[piece] * 31):
        answers.feed(told)
    with pytest.raises(headrace.HeadraceError, match="larger than"):
        answers.feed(piece)
    assert b"".join([*(plain.feed(piece) for _ in range(40)), plain.close()]) == piece * 40


def test_a_session_goes_on_where_it_is_at_the_place_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever host its address names: credentials go with it. Less may have arrived than was sent, or nothing."""
    monkeypatch.setattr(uploads, "PART", 100)
    upload = uploads.Resumable(FormFile(bytes(250), "file"), b"{}", "https://storage.example")
    told = {"location": "https://elsewhere.example/upload/o?upload_id=7"}
    spans = []
    for status, headers in ((200, told), (308, {"range": "bytes=0-59"}), (308, {}), (308, {"range": "bytes=0-199"})):
        step = upload.then(HttpResponse(status, Headers.of(headers), b""), "part" if spans else "")
        assert step is not None
        assert step.request.url == "https://storage.example/upload/o?upload_id=7"
        spans.append(dict(step.request.headers)["content-range"])
    assert spans == ["bytes 0-99/250", "bytes 60-159/250", "bytes 0-99/250", "bytes 200-249/250"]
    assert upload.then(HttpResponse(200, Headers.of({}), b"{}"), "part") is None


def test_a_session_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = uploads.Resumable(FormFile(bytes(250), "file"), b"{}", "https://storage.example")
    step = upload.then(HttpResponse(200, Headers.of({"location": "/o?upload_id=7"}), b""), "")
    methods = []
    while step is not None and step.step != "given up":
        methods.append(step.request.method)
        step = upload.then(HttpResponse(308, Headers.of({}), b""), step.step)
    assert step is not None
    assert (methods, step.request.method) == (["PUT"] * 4, "DELETE")
    with pytest.raises(headrace.BadRequestError, match="after 0 of 250 bytes"):
        upload.then(HttpResponse(499, Headers.of({}), b""), step.step)


def test_a_file_of_more_than_ten_thousand_parts_has_larger_ones() -> None:
    assert uploads.part_of(1 << 30) == uploads.PART
    size = 4 << 40
    assert size / uploads.part_of(size) <= uploads.MOST_PARTS / 2
    assert uploads.part_of(size) % (1 << 20) == 0


@given(part=st.integers(1, 40), pieces=st.lists(st.binary(max_size=90), max_size=9))
def test_parts_are_hashed_however_a_file_is_read(part: int, pieces: list[bytes]) -> None:
    digests, whole = uploads.Digests(part), b"".join(pieces)
    for piece in pieces:
        digests.update(piece)
    cut = [whole[at : at + part] for at in range(0, len(whole), part)] or [b""]
    assert digests.hexdigests() == [hashlib.sha256(piece).hexdigest() for piece in cut]


# ---- the simulator's own side, asked by those who did not write ours ---------------------------------------------------------------


def s3(base: Running, **more: Any) -> Any:
    root = base.url("a").removesuffix("/v1")
    way = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, **more}
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
    return get_session().create_client("s3", region_name="eu-central-1", endpoint_url=f"{root}/s3", config=config, **way)


def test_awss_own_client_is_let_in_and_refused_as_at_s3(base: Running) -> None:
    client = s3(base)
    client.put_object(Bucket="mill", Key="a b/ü.txt", Body=b"mill", Metadata={"purpose": "x"})
    found = client.get_object(Bucket="mill", Key="a b/ü.txt", Range="bytes=1-2")
    assert (found["Body"].read(), found["ContentRange"], found["Metadata"]) == (b"il", "bytes 1-2/4", {"purpose": "x"})
    client.put_object(Bucket="mill", Key="a b/z", Body=b"")
    page = client.list_objects_v2(Bucket="mill", Prefix="a b/", MaxKeys=1)
    more = client.list_objects_v2(Bucket="mill", Prefix="a b/", ContinuationToken=page["NextContinuationToken"])
    assert [one["Key"] for one in [*page["Contents"], *more["Contents"]]] == ["a b/z", "a b/ü.txt"]
    client.delete_object(Bucket="mill", Key="a b/z")
    for ask, code in (
        (lambda: client.get_object(Bucket="mill", Key="a b/z"), "NoSuchKey"),
        (lambda: client.get_object(Bucket="nobodys", Key="x"), "NoSuchBucket"),
        (lambda: client.get_object(Bucket="mill", Key="a b/ü.txt", Range="bytes=9-9"), "InvalidRange"),
        (lambda: client.put_object(Bucket="mill", Key="x", Body=b"y", ChecksumCRC32="AAAAAA=="), "BadDigest"),
        (lambda: client.put_object(Bucket="mill", Key="x", Body=b"y", ExpectedBucketOwner="999999999999"), "AccessDenied"),
        (lambda: s3(base, aws_secret_access_key="wrong").put_object(Bucket="mill", Key="x", Body=b"y"), "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as refused:
            ask()
        assert refused.value.response["Error"]["Code"] == code


def test_awss_own_client_uploads_in_parts_as_at_s3(base: Running, buckets: Buckets) -> None:
    client, name = s3(base), {"Bucket": "mill", "Key": "large"}
    id = client.create_multipart_upload(**name, Metadata={"purpose": "x"})["UploadId"]
    assert [one["UploadId"] for one in client.list_multipart_uploads(Bucket="mill")["Uploads"]] == [id]
    tags = {n: client.upload_part(**name, UploadId=id, PartNumber=n, Body=body)["ETag"] for n, body in ((1, bytes(9)), (2, bytes(5 << 20)))}
    tags[3] = client.upload_part(**name, UploadId=id, PartNumber=3, Body=b"end")["ETag"]

    def complete(*numbers: int, **other: str) -> Any:
        parts = [{"PartNumber": number, "ETag": other.get("tag", tags.get(number, '"x"'))} for number in numbers]
        return client.complete_multipart_upload(**name, UploadId=other.get("id", id), MultipartUpload={"Parts": parts})

    for ask, code in (
        (lambda: complete(1, 2, 3), "EntityTooSmall"),
        (lambda: complete(3, 2), "InvalidPartOrder"),
        (lambda: complete(2, 4), "InvalidPart"),
        (lambda: complete(2, tag='"wrong"'), "InvalidPart"),
        (lambda: complete(2, id="nobodys"), "NoSuchUpload"),
        (lambda: client.upload_part(**name, UploadId=id, PartNumber=0, Body=b"x"), "InvalidArgument"),
    ):
        with pytest.raises(ClientError) as refused:
            ask()
        assert refused.value.response["Error"]["Code"] == code
    complete(2, 3)
    found = client.get_object(**name)
    assert (found["Body"].read()[-4:], found["ContentLength"], found["Metadata"]) == (b"\x00end", (5 << 20) + 3, {"purpose": "x"})
    other = client.create_multipart_upload(**name)["UploadId"]
    client.abort_multipart_upload(**name, UploadId=other)
    assert not buckets.unfinished


def test_cloud_storages_sessions_take_parts_in_their_order_and_sizes(base: Running, buckets: Buckets) -> None:
    root, way = base.url("a").removesuffix("/v1"), {"authorization": f"Bearer {KEY}"}
    about = {**way, "x-upload-content-length": str((256 << 10) + 5)}
    begun = httpx2.post(f"{root}/upload/storage/v1/b/mill/o?uploadType=resumable", json={"name": "large"}, headers=about)
    there, first = begun.headers["location"], bytes(256 << 10)

    def put(span: str, body: bytes = b"") -> httpx2.Response:
        return httpx2.put(there, content=body, headers={**way, "content-range": f"bytes {span}"})

    size = len(first) + 5
    assert put(f"0-9/{size}", bytes(10)).status_code == 400
    assert put(f"0-{len(first) - 1}/{size + 1}", first).status_code == 400
    assert put(f"{len(first)}-{size - 1}/{size}", bytes(5)).status_code == 503
    assert (put(f"*/{size}").status_code, "range" in put(f"*/{size}").headers) == (308, False)
    assert put(f"0-{len(first) - 1}/{size}", first).headers["range"] == f"bytes=0-{len(first) - 1}"
    done = put(f"{len(first)}-{size - 1}/{size}", b"12345")
    assert (done.status_code, done.json()["size"], put(f"*/{size}").json()["size"]) == (200, str(size), str(size))
    assert not buckets.unfinished


def test_cloud_storage_takes_an_upload_only_whole(base: Running) -> None:
    root = base.url("a").removesuffix("/v1")

    def put(about: Any, content: bytes, *, key: str = KEY, bucket: str = "mill") -> httpx2.Response:
        parts = b"".join(
            b"--x\r\ncontent-type: %b\r\n\r\n%b\r\n" % (kind, part)
            for kind, part in ((b"application/json", json.dumps(about).encode()), (b"text/plain", content))
        )
        headers = {"authorization": f"Bearer {key}", "content-type": "multipart/related; boundary=x"}
        there = f"{root}/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
        return httpx2.post(there, content=parts + b"--x--\r\n", headers=headers)

    hash = base64.b64encode(hashlib.md5(b"mill", usedforsecurity=False).digest()).decode()
    good = put({"name": "a/b", "md5Hash": hash, "metadata": {"purpose": "x"}}, b"mill")
    assert good.status_code == 200
    assert (good.json()["size"], good.json()["contentType"], good.json()["metadata"]) == ("4", "text/plain", {"purpose": "x"})
    assert put({"name": "a/b", "md5Hash": hash}, b"mall").status_code == 400
    assert put({"md5Hash": hash}, b"mill").status_code == 400
    assert put({"name": "a/b"}, b"mill", bucket="nobodys").status_code == 404
    assert put({"name": "a/b"}, b"mill", key="wrong").status_code == 401
