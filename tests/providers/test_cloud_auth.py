"""Credentials of clouds: whose are meant, how requests are signed, and when they are renewed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from headrace.bridge import complete
from headrace.destinations import destination
from headrace.errors import AuthenticationError, ConfigurationError, HeadraceError, Kind, Timeout
from headrace.providers import cloud_auth, cloud_credentials, signing
from headrace.providers.catalog import catalog
from headrace.providers.cloud_auth import given, region_of, signer_for
from headrace.providers.cloud_credentials import Aws, Bearer, entra, google
from headrace.providers.rows import Auth, Evidence, Provider
from headrace.providers.signing import EARLY, LATE, PAUSE, Signer
from headrace.runtime.clocks import AsyncClock, BlockingClock
from headrace.wire import HttpRequest

REQUEST = HttpRequest("POST", "https://bedrock-runtime.us-east-1.amazonaws.com/model/a.b-v1%3A0/converse", (("content-type", "x"),), b"{}")
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI"}


@pytest.fixture(autouse=True)
def no_aws_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEDROCK_RUNTIME_ENDPOINT", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def row(sign: Any = "aws", name: str = "cloud") -> Provider:
    return Provider(name=name, auth=Auth(env=("CLOUD_KEY",), sign=sign), evidence=Evidence("here", "", "unchecked"))


class Counted:
    """Credentials that are counted, and last as long as the test says."""

    def __init__(self, *lives: float) -> None:
        self.lives = list(lives)
        self.loads = 0
        self.remaining = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def load(self) -> None:
        assert self.gate.wait(5)
        self.loads += 1
        if self.error is not None:
            raise self.error
        self.remaining = self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]

    def left(self) -> float:
        return self.remaining

    def forget(self) -> None:
        self.remaining = 0.0

    def apply(self, request: HttpRequest) -> HttpRequest:
        return HttpRequest(request.method, request.url, (*request.headers, ("authorization", f"load {self.loads}")), request.body)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(signer: Signer) -> str:
    return dict(complete(signer.sign(REQUEST, BlockingClock())).headers)["authorization"]


def settled(signer: Signer) -> None:
    """Wait for a renewal beside the calls."""
    for thread in threading.enumerate():
        if thread.name == "headrace-credentials":
            thread.join(5)


# ---- when credentials are renewed ------------------------------------------------------------------------------------------------------


def test_credentials_are_found_once_and_kept() -> None:
    credentials = Counted(float("inf"))
    signer = Signer("cloud", credentials)
    assert [shown(signer) for _ in range(3)] == ["load 1"] * 3
    assert credentials.loads == 1


def test_they_are_renewed_beside_the_calls_before_they_end() -> None:
    credentials, time = Counted(3600.0, 7200.0), Time()
    signer = Signer("cloud", credentials, now=time)
    shown(signer)
    time.now += 2800
    credentials.remaining = EARLY - 100
    credentials.gate.clear()
    assert shown(signer) == "load 1", "a call waited although the credentials still held"
    assert shown(signer) == "load 1"
    credentials.gate.set()
    settled(signer)
    assert (shown(signer), credentials.loads) == ("load 2", 2)


def test_a_source_that_repeats_itself_is_not_asked_with_every_call() -> None:
    credentials, time = Counted(EARLY / 2), Time()
    signer = Signer("cloud", credentials, now=time)
    for _ in range(5):
        shown(signer)
        settled(signer)
    assert credentials.loads == 1
    time.now += PAUSE
    shown(signer)
    settled(signer)
    assert credentials.loads == 2


def test_a_call_waits_for_new_ones_at_the_very_end() -> None:
    credentials = Counted(3600.0)
    signer = Signer("cloud", credentials)
    shown(signer)
    credentials.remaining = LATE - 1
    assert (shown(signer), credentials.loads) == ("load 2", 2)


def test_old_ones_serve_while_new_ones_do_not_come() -> None:
    credentials = Counted(3600.0)
    signer = Signer("cloud", credentials)
    shown(signer)
    credentials.remaining, credentials.error = LATE - 1, OSError("no network")
    assert shown(signer) == "load 2"
    credentials.remaining = 0.0
    with pytest.raises(AuthenticationError, match="cloud: no credentials: OSError: no network"):
        shown(signer)
    credentials.error = None
    assert shown(signer) == "load 4", "a failure is not kept"


def test_refused_ones_are_looked_for_anew_but_not_with_every_call() -> None:
    credentials, time = Counted(float("inf")), Time()
    signer = Signer("cloud", credentials, now=time)
    shown(signer)
    signer.refused()
    assert shown(signer) == "load 1"
    time.now += PAUSE
    signer.refused()
    assert shown(signer) == "load 2"


def test_many_tasks_wait_for_one_search() -> None:
    credentials = Counted(float("inf"))
    credentials.gate.clear()
    signer = Signer("cloud", credentials)

    async def many() -> list[HttpRequest]:
        clock = AsyncClock()
        tasks = [asyncio.create_task(signer.sign(REQUEST, clock)) for _ in range(20)]
        await asyncio.sleep(0)
        credentials.gate.set()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(many())) == 20
    assert credentials.loads == 1


def test_the_event_loop_runs_on_while_credentials_are_found() -> None:
    credentials = Counted(float("inf"))
    credentials.gate.clear()
    signer = Signer("cloud", credentials)

    async def beside() -> bool:
        task = asyncio.create_task(signer.sign(REQUEST, AsyncClock()))
        for _ in range(3):
            await asyncio.sleep(0)
        waited = not task.done()
        credentials.gate.set()  # only a loop that is free gets here
        await task
        return waited

    assert asyncio.run(beside())


def test_threads_and_tasks_share_one_search() -> None:
    credentials = Counted(float("inf"))
    credentials.gate.clear()
    signer = Signer("cloud", credentials)
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(shown(signer))) for _ in range(4)]
    for thread in threads:
        thread.start()
    credentials.gate.set()
    for thread in threads:
        thread.join(5)
    assert told == ["load 1"] * 4


def test_credentials_that_never_come_are_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "PATIENCE", 0.01)
    credentials = Counted(float("inf"))
    credentials.gate.clear()
    signer = Signer("cloud", credentials)
    with pytest.raises(Timeout, match="no credentials within") as caught:
        shown(signer)
    assert caught.value.failure.sent is False
    credentials.gate.set()
    settled(signer)
    assert shown(signer) == "load 1"


def test_a_librarys_failure_tells_no_key() -> None:
    credentials = Counted(1.0)
    credentials.error = ValueError("bad secret_key='sk-ant-abcdef1234567890'")
    with pytest.raises(HeadraceError) as caught:
        shown(Signer("cloud", credentials))
    assert caught.value.failure.kind is Kind.AUTHENTICATION
    assert "abcdef1234567890" not in str(caught.value)


# ---- whose credentials are meant -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "region"),
    [
        ("us-west-2/anthropic.claude-v2", "us-west-2"),
        ("converse/eu-central-1/a.b", "eu-central-1"),
        ("us-gov-west-1/a.b", "us-gov-west-1"),
        ("arn:aws:bedrock:ap-southeast-2:1:inference-profile/x", "ap-southeast-2"),
        ("arn:aws-us-gov:bedrock:us-gov-east-1:1:imported-model/x", "us-gov-east-1"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ""),
        ("anthropic.claude-v2", ""),
    ],
)
def test_a_models_name_may_say_its_region(model: str, region: str) -> None:
    assert region_of(model) == region


def test_only_the_clouds_own_options_count() -> None:
    control = {**KEYS, "vertex_project": "p", "aws_profile_name": None, "timeout": 3, "api_key": "k"}
    found = given(row(), "m", control, {"A": "b"})
    assert dict(found.options) == KEYS
    assert found.own
    assert given(row("google"), "m", control, {}) == ((("vertex_project", "p"),), {"VERTEXAI_PROJECT": "p"}, False, "")


def test_a_place_is_no_credential() -> None:
    found = given(row(), "us-west-2/m", {"aws_bedrock_runtime_endpoint": "https://x"}, {"AWS_REGION": "eu-west-1", "HOME": "/"})
    assert not found.own
    assert found.environment == {
        "AWS_REGION": "eu-west-1", "HOME": "/", "AWS_REGION_NAME": "us-west-2", "AWS_BEDROCK_RUNTIME_ENDPOINT": "https://x",
    }  # fmt: skip
    assert given(row(), "us-west-2/m", {"aws_region_name": "eu-west-3"}, {}).environment == {"AWS_REGION_NAME": "eu-west-3"}


@pytest.mark.parametrize(
    ("sign", "control", "said"),
    [
        ("aws", {"aws_region_name": 3}, "aws_region_name must be a non-empty string, got the int 3"),
        ("aws", {"aws_access_key_id": ""}, "aws_access_key_id must be a non-empty string"),
        ("entra", {"azure_ad_token_provider": "token"}, "azure_ad_token_provider must be a function"),
    ],
)
def test_a_bad_option_is_named(sign: str, control: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        given(row(sign), "m", control, {})


@pytest.mark.parametrize(("sign", "extra"), [("aws", "bedrock"), ("google", "vertex"), ("entra", "azure")])
def test_a_missing_library_is_told_with_the_way_to_get_it(sign: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_auth, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=rf"pip install headrace\[{extra}\], or pass api_key="):
        signer_for(row(sign), "https://x.us-east-1.amazonaws.com", (), {})


def test_a_missing_parent_package_is_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(cloud_auth, "find_spec", missing)
    with pytest.raises(ConfigurationError, match=r"needs azure\.identity"):
        signer_for(row("entra"), "https://x", (), {})
    given_token = (("azure_ad_token", "t"),)
    assert shown(signer_for(row("entra"), "https://x", given_token, {})) == "Bearer t"


@pytest.mark.parametrize(
    ("base_url", "options", "environment", "region"),
    [
        ("https://bedrock-runtime.us-west-2.amazonaws.com", {"aws_region_name": "eu-west-1"}, {}, "us-west-2"),
        ("https://vpce-1.bedrock-runtime.ap-south-1.vpce.amazonaws.com/x", {}, {}, "ap-south-1"),
        ("http://127.0.0.1:9/", {"aws_region_name": "eu-west-1"}, {"AWS_REGION": "us-east-2"}, "eu-west-1"),
        ("https://proxy.example.com", {}, {"AWS_REGION_NAME": " ", "AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
    ],
)
def test_a_signature_is_made_for_the_addresss_region(
    base_url: str, options: dict[str, str], environment: dict[str, str], region: str
) -> None:
    signer = signer_for(row(), base_url, tuple({**KEYS, **options}.items()), environment)
    assert f"/{region}/bedrock/aws4_request" in shown(signer)


def test_without_any_region_the_way_to_say_one_is_told() -> None:
    with pytest.raises(ConfigurationError, match="pass aws_region_name="):
        signer_for(row(), "https://proxy.example.com", (), {})


def test_the_same_options_share_one_signer_and_its_credentials() -> None:
    control = {**KEYS, "aws_region_name": "us-east-1"}
    one, other = destination("bedrock/a.b", control), destination("bedrock/c.d", control)
    assert one.signer is not None
    assert one.signer is other.signer
    assert one.account != other.account
    assert destination("bedrock/a.b", {**control, "aws_access_key_id": "AKIDOTHER"}).signer is not one.signer
    assert "wJalrXUtnFEMI" not in f"{one!r} {one.signer!r} {one}"


def test_the_region_makes_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    host = "https://bedrock-runtime.{}.amazonaws.com"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert destination("bedrock/a.b", {"api_key": "k"}).base_url == host.format("us-east-2")
    monkeypatch.setenv("AWS_REGION_NAME", "eu-west-1")
    assert destination("bedrock/a.b", {"api_key": "k"}).base_url == host.format("eu-west-1")
    assert destination("bedrock/ap-south-1/a.b", {"api_key": "k"}).base_url == host.format("ap-south-1")
    assert destination("bedrock/a.b", {"api_key": "k", "aws_region_name": "us-west-1"}).base_url == host.format("us-west-1")
    assert destination("bedrock/a.b", {"api_key": "k", "aws_bedrock_runtime_endpoint": "https://x"}).base_url == "https://x"
    assert destination("bedrock/a.b", {"api_key": "k"}).signer is None


def test_a_key_of_the_environment_needs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")
    to = destination("bedrock/a.b", {"aws_region_name": "us-east-1"})
    assert (to.signer, dict(to.headers)["authorization"]) == (None, "Bearer bedrock-key")
    assert destination("bedrock/a.b", {"aws_region_name": "us-east-1", **KEYS}).signer is not None


def test_every_row_that_signs_names_a_known_scheme() -> None:
    signing = [provider for provider in catalog() if provider.auth.sign]
    assert {provider.name for provider in signing} >= {"bedrock"}
    for provider in signing:
        assert given(provider, "m", {}, {}).options == ()


# ---- AWS -------------------------------------------------------------------------------------------------------------------------------


def signature_by_hand(headers: Mapping[str, str], secret: str, region: str, path: str, body: bytes) -> str:
    """SigV4 as docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html draws it: every part of the path encoded twice."""
    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    said = {**headers, "host": "bedrock-runtime.us-east-1.amazonaws.com"}
    lines = "".join(f"{name}:{said[name]}\n" for name in names.split(";"))
    asked = f"POST\n{quote(path, safe='/~')}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    day = headers["x-amz-date"][:8]
    scope = f"{day}/{region}/bedrock/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, "bedrock", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("token", [None, "a-session"])
def test_a_signature_is_the_one_aws_computes(token: str | None) -> None:
    options = KEYS if token is None else {**KEYS, "aws_session_token": token}
    credentials = Aws(options, "us-east-1")
    credentials.load()
    headers = dict(credentials.apply(REQUEST).headers)
    expected = signature_by_hand(headers, KEYS["aws_secret_access_key"], "us-east-1", "/model/a.b-v1%3A0/converse", b"{}")
    assert headers["authorization"].endswith(f"Signature={expected}")
    assert headers.get("x-amz-security-token") == token
    assert headers["content-type"] == "x"


def test_signing_again_replaces_the_old_signature() -> None:
    credentials = Aws(KEYS, "us-east-1")
    credentials.load()
    names = [name for name, _ in credentials.apply(credentials.apply(REQUEST)).headers]
    assert sorted(names) == sorted(set(names))


def test_other_headers_go_along_unsigned() -> None:
    credentials = Aws(KEYS, "us-east-1")
    credentials.load()
    sent = HttpRequest("POST", REQUEST.url, (("content-type", "x"), ("x-mine", "1"), ("user-agent", "me")), b"{}")
    headers = dict(credentials.apply(sent).headers)
    assert (headers["x-mine"], headers["user-agent"]) == ("1", "me")
    assert "SignedHeaders=content-type;host;x-amz-date," in headers["authorization"]


def test_keys_do_not_end() -> None:
    credentials = Aws(KEYS, "us-east-1")
    assert credentials.left() == 0.0
    credentials.load()
    assert credentials.left() == float("inf")


def test_half_a_key_is_refused() -> None:
    for name, other in (("aws_access_key_id", "aws_secret_access_key"), ("aws_secret_access_key", "aws_access_key_id")):
        with pytest.raises(ConfigurationError, match=f"{name} was given without {other}"):
            Aws({name: KEYS[name]}, "us-east-1")


def test_a_profile_is_read_from_its_file(tmp_path: Any) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = s\n", "utf-8")
    credentials = Aws({"aws_profile_name": "work"}, "us-east-1")
    credentials.load()
    assert "Credential=AKIDWORK/" in dict(credentials.apply(REQUEST).headers)["authorization"]


def test_a_file_that_was_written_anew_is_read_anew_once_its_keys_are_refused(tmp_path: Any) -> None:
    file, time = tmp_path / "credentials", Time()
    signer = Signer("bedrock", Aws({"aws_profile_name": "work"}, "us-east-1"), now=time)
    for key in ("AKIDOLD", "AKIDNEW"):
        file.write_text(f"[work]\naws_access_key_id = {key}\naws_secret_access_key = s\n", "utf-8")
        assert f"Credential={key}/" in shown(signer)
        time.now += PAUSE
        signer.refused()


def test_a_profile_that_does_not_exist_is_named() -> None:
    with pytest.raises(AuthenticationError, match="nobody"):
        shown(Signer("bedrock", Aws({"aws_profile_name": "nobody"}, "us-east-1")))


class Sts(BaseHTTPRequestHandler):
    """AWS's token service, giving credentials that last as the test says, and Google's at a path of its own."""

    asked: list[dict[str, list[str]]]
    lives: list[float]

    def do_POST(self) -> None:
        query = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.asked.append(query)
        if self.path == "/token":
            self._answer("application/json", b'{"access_token": "ya29.fetched", "expires_in": 3600, "token_type": "Bearer"}')
            return
        action, number = query["Action"][0], len(self.asked)
        end = datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.lives[min(number, len(self.lives)) - 1], UTC)
        body = (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
            f"<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>s{number}</SecretAccessKey><SessionToken>t{number}</SessionToken>"
            f"<Expiration>{end:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>"
            f"<AssumedRoleId>R:s</AssumedRoleId></AssumedRoleUser></{action}Result></{action}Response>"
        ).encode()
        self._answer("text/xml", body)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def sts() -> Iterator[SimpleNamespace]:
    handler = type("Handler", (Sts,), {"asked": [], "lives": [3600.0]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield SimpleNamespace(url=url, asked=handler.asked, lives=handler.lives)  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join(5)


ROLE = "arn:aws:iam::123456789012:role/caller"


def test_a_role_is_taken_on_once(sts: SimpleNamespace) -> None:
    options = {**KEYS, "aws_role_name": ROLE, "aws_session_name": "me", "aws_external_id": "theirs", "aws_sts_endpoint": sts.url}
    signer = Signer("bedrock", Aws(options, "us-east-1"))
    assert all("Credential=ASIA1/" in shown(signer) for _ in range(3))
    [query] = sts.asked
    assert (query["Action"], query["RoleArn"], query["RoleSessionName"], query["ExternalId"]) == (
        ["AssumeRole"],
        [ROLE],
        ["me"],
        ["theirs"],
    )


def test_a_role_is_taken_on_again_before_it_ends(sts: SimpleNamespace) -> None:
    sts.lives[:] = [EARLY - 100, 3600.0]
    time = Time()
    signer = Signer("bedrock", Aws({**KEYS, "aws_role_name": ROLE, "aws_sts_endpoint": sts.url}, "us-east-1"), now=time)
    assert "Credential=ASIA1/" in shown(signer)
    time.now += PAUSE
    assert "Credential=ASIA1/" in shown(signer)
    settled(signer)
    assert "Credential=ASIA2/" in shown(signer)
    assert len(sts.asked) == 2


def test_a_web_identitys_token_is_read_anew_from_its_file(sts: SimpleNamespace, tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text("a.web.token\n", "utf-8")
    for token in (str(file), "a.web.token"):
        options = {"aws_role_name": ROLE, "aws_web_identity_token": token, "aws_sts_endpoint": sts.url}
        credentials = Aws(options, "us-east-1")
        credentials.load()
        assert credentials.left() > 3000
    assert [query["WebIdentityToken"] for query in sts.asked] == [["a.web.token"]] * 2


def test_a_role_without_anybody_to_take_it_on_is_told() -> None:
    with pytest.raises(AuthenticationError, match=f"to assume {ROLE}"):
        shown(Signer("bedrock", Aws({"aws_role_name": ROLE}, "us-east-1")))


# ---- Google and Azure ------------------------------------------------------------------------------------------------------------------


class GoogleCredentials:
    """As google-auth's: a naive moment in UTC, and no word of what is left."""

    def __init__(self) -> None:
        self.refreshed = 0
        self.token = ""
        self.expiry: datetime | None = None

    def refresh(self, request: Any) -> None:
        self.refreshed += 1
        self.token = f"ya29.{self.refreshed}"
        self.expiry = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 3600, UTC).replace(tzinfo=None)


def test_googles_token_is_kept_and_renewed() -> None:
    own, asked = GoogleCredentials(), []

    def find(said: str | None) -> GoogleCredentials:
        asked.append(said)
        return own

    bearer = google({"vertex_credentials": "/key.json"}, find)
    signer = Signer("vertex_ai", bearer)
    assert [shown(signer) for _ in range(3)] == ["Bearer ya29.1"] * 3
    assert 3500 < bearer.left() <= 3600
    bearer.load()
    assert shown(signer) == "Bearer ya29.2"
    assert asked == ["/key.json"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"type": "service_account", "client_email": "x"}, "MalformedError"),
        ({"type": "authorized_user"}, "ValueError"),
        ({"type": "carrier_pigeon"}, "must be of type service_account, authorized_user, external_account"),
        ("no such file.json", "must be a service account's JSON, or the path"),
    ],
)
def test_googles_own_library_reads_credentials(said: Any, error: str, tmp_path: Any) -> None:
    texts = [said if isinstance(said, str) else json.dumps(said)]
    if not isinstance(said, str):
        file = tmp_path / "key.json"
        file.write_text(texts[0], "utf-8")
        texts.append(str(file))
    for text in texts:
        with pytest.raises((AuthenticationError, ConfigurationError), match=error):
            shown(Signer("vertex_ai", google({"vertex_credentials": text})))


def test_a_service_accounts_token_is_fetched_from_its_own_address(sts: SimpleNamespace) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
    info = {"type": "service_account", "client_email": "a@b", "private_key": pem, "token_uri": f"{sts.url}/token", "project_id": "p"}
    bearer = google({"vertex_credentials": json.dumps(info)})
    assert shown(Signer("vertex_ai", bearer)) == "Bearer ya29.fetched"
    assert 3500 < bearer.left() <= 3600
    assert sts.asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_a_service_account_given_as_a_mapping_is_one_option() -> None:
    found = given(row("google"), "m", {"vertex_credentials": {"type": "service_account"}}, {})
    assert found.options == (("vertex_credentials", '{"type":"service_account"}'),)
    assert found.own


def test_entras_token_is_kept_until_shortly_before_its_end() -> None:
    scopes: list[str] = []
    ends = [2_000.0, 9_000.0]

    def get_token(scope: str) -> SimpleNamespace:
        scopes.append(scope)
        return SimpleNamespace(token=f"eyJ{len(scopes)}", expires_on=int(ends[len(scopes) - 1]))

    bearer = entra({"azure_scope": "https://ai.azure.com/.default"}, lambda _: SimpleNamespace(get_token=get_token))
    wall = Time()
    bearer._wall = wall
    signer = Signer("azure", bearer, now=lambda: 0.0)
    assert (shown(signer), bearer.left()) == ("Bearer eyJ1", 1000.0)
    wall.now = 2_000.0 - LATE
    assert (shown(signer), scopes) == ("Bearer eyJ2", ["https://ai.azure.com/.default"] * 2)


def test_a_token_provider_is_asked_anew_but_not_with_every_call() -> None:
    tokens = iter(["one", "two", "three"])
    time = Time()
    signer = Signer("azure", entra({"azure_ad_token_provider": lambda: next(tokens)}), now=time)
    assert [shown(signer), shown(signer)] == ["Bearer one", "Bearer one"]
    time.now += PAUSE
    shown(signer)
    settled(signer)
    assert shown(signer) == "Bearer two"


def test_half_a_client_is_refused() -> None:
    signer = Signer("azure", entra({"client_secret": "s", "tenant_id": "t"}))
    with pytest.raises(ConfigurationError, match="client_secret was given without client_id"):
        shown(signer)


def test_a_clients_secret_makes_its_credential() -> None:
    made = cloud_credentials._entra_credential({"client_secret": "s", "tenant_id": "t-1", "client_id": "c"})
    assert type(made).__name__ == "ClientSecretCredential"
    assert type(cloud_credentials._entra_credential({})).__name__ == "DefaultAzureCredential"


def test_a_token_replaces_another_and_is_not_shown_before_it_is_there() -> None:
    bearer = Bearer(lambda: ("new", None))
    with pytest.raises(AuthenticationError, match="no token"):
        bearer.apply(REQUEST)
    bearer.load()
    sent = bearer.apply(HttpRequest("POST", "https://x", (("authorization", "Bearer old"), ("a", "b"))))
    assert sent.headers == (("a", "b"), ("authorization", "Bearer new"))
    assert bearer.left() == float("inf")
    bearer.forget()
    assert bearer.left() == 0.0
