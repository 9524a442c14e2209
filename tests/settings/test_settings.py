"""Settings come from the environment, then from `.env`; they are typed, and nothing that is printed holds a key."""

from __future__ import annotations

import pickle
import pprint
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.settings import Secret, Settings, find_dotenv, settings

KEY = "sk-0123456789abcdef"
CHAT = {
    "LLM_PROVIDER": "openai",
    "LLM_MODEL": "deepseek-ai/DeepSeek-V3.2-Exp",
    "LLM_PROVIDER_BASE_URL": "https://api.siliconflow.cn/v1",
    "LLM_PROVIDER_API_KEY": KEY,
    "LLM_TPM": "80000",
    "LLM_RPM": "1000",
}
EMBEDDING = {name.replace("LLM_", "EMBEDDING_"): value for name, value in CHAT.items()} | {"EMBEDDING_MODEL": "BAAI/bge-m3"}


def read(**env: str) -> Settings:
    return Settings.load(env=env, dotenv=False)


def dotenv(folder: Path, **values: str) -> Path:
    file = folder / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()), "utf-8")
    return file


def test_every_variable_has_its_type() -> None:
    found = read(**CHAT, **EMBEDDING)
    assert found.llm_provider == "openai"
    assert found.llm_model == "deepseek-ai/DeepSeek-V3.2-Exp"
    assert found.llm_provider_base_url == "https://api.siliconflow.cn/v1"
    assert (found.llm_tpm, found.llm_rpm) == (80_000, 1_000)
    assert found.embedding_provider == "openai"
    assert found.embedding_model == "BAAI/bge-m3"
    assert found.embedding_provider_base_url == "https://api.siliconflow.cn/v1"
    assert (found.embedding_tpm, found.embedding_rpm) == (80_000, 1_000)
    assert found.embedding_provider_api_key == KEY


def test_a_key_is_the_real_thing() -> None:
    key = read(**CHAT).llm_provider_api_key
    assert type(key) is str
    assert key == KEY


def test_what_is_optional_may_be_missing() -> None:
    found = read()
    assert found.llm_provider_base_url is None
    assert found.llm_provider_api_key is None
    assert found.llm_tpm is None
    assert found.embedding_rpm is None


@pytest.mark.parametrize("name", ["LLM_PROVIDER", "LLM_MODEL", "EMBEDDING_PROVIDER", "EMBEDDING_MODEL"])
def test_what_is_needed_says_how_to_set_it(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is not set: write {name}="):
        getattr(read(), name.lower())


@pytest.mark.parametrize(
    ("env", "file", "tokens"),
    [
        ({"LLM_TPM": "1"}, {"LLM_TPM": "2"}, 1),
        ({}, {"LLM_TPM": "2"}, 2),
        ({"LLM_TPM": ""}, {"LLM_TPM": "2"}, 2),
        ({"LLM_TPM": "  "}, {"LLM_TPM": "2"}, 2),
        ({"LLM_TPM": "1"}, {}, 1),
        ({"LLM_TPM": "1"}, {"LLM_TPM": ""}, 1),
        ({}, {"LLM_TPM": ""}, None),
        ({}, {}, None),
    ],
)
def test_the_environment_wins_over_the_file(tmp_path: Path, env: dict[str, str], file: dict[str, str], tokens: int | None) -> None:
    assert Settings.load(env=env, dotenv=dotenv(tmp_path, **file)).llm_tpm == tokens


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "LLM_TPM",
            "80k",
            "LLM_TPM must be a whole number of tokens per minute, got 3 characters that are not all digits; write LLM_TPM=80000",
        ),
        ("LLM_RPM", "-1", "LLM_RPM must be a whole number of requests per minute"),
        ("LLM_RPM", "1.5", "LLM_RPM must be a whole number of requests per minute"),
        ("EMBEDDING_TPM", "８００", "EMBEDDING_TPM must be a whole number"),
        ("EMBEDDING_RPM", "0", "EMBEDDING_RPM must be at least 1; leave it out for no limit"),
        ("LLM_PROVIDER", "openai/gpt-4o", "LLM_PROVIDER must be one word without a slash"),
        ("LLM_MODEL", "deep seek", "LLM_MODEL must be the provider's own name for the model, without blanks"),
        ("LLM_PROVIDER_BASE_URL", "api.siliconflow.cn/v1", "LLM_PROVIDER_BASE_URL must begin with http:// or https://"),
        ("LLM_PROVIDER_BASE_URL", "https:///v1", "LLM_PROVIDER_BASE_URL must begin with http:// or https:// and name a host"),
        ("LLM_PROVIDER_BASE_URL", "https://[::1/v1", "LLM_PROVIDER_BASE_URL must begin with http:// or https:// and name a host"),
        ("LLM_PROVIDER_BASE_URL", "https://h.test/v1/chat/completions", "LLM_PROVIDER_BASE_URL must end before /chat/completions"),
        ("LLM_PROVIDER_API_KEY", f"Bearer {KEY}", "LLM_PROVIDER_API_KEY must be the bare key"),
        ("EMBEDDING_PROVIDER_API_KEY", f"{KEY}…", "EMBEDDING_PROVIDER_API_KEY must be the bare key"),
    ],
)
def test_a_bad_value_is_told_by_name_shape_and_fix(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**{name: value})
    assert said in str(caught.value)
    assert f"write {name}=" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("LLM_TMP", "LLM_TPM"), ("LLM_PROVIDR", "LLM_PROVIDER"), ("EMBEDDING_MODELL", "EMBEDDING_MODEL")]
)
def test_a_limit_whose_name_was_misspelt_was_kept_by_nobody(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is not a setting; did you mean {meant}"):
        read(**{name: "80000"})
    assert read(**{name: "80000", meant: "80000"}), "whoever has both means both"


def test_other_programs_variables_are_theirs() -> None:
    assert read(LLM_API_KEY="x", EMBEDDING_MODEL_NAME="x", LLM_TEMPERATURE="1").llm_tpm is None


@pytest.mark.parametrize("value", ["80_000", " 80000 ", "80000"])
def test_a_number_may_be_written_legibly(value: str) -> None:
    assert read(LLM_TPM=value).llm_tpm == 80_000


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(LLM_TPM="80k", LLM_PROVIDER_BASE_URL="siliconflow", EMBEDDING_RPM="many")
    assert all(name in str(caught.value) for name in ("3 settings", "LLM_TPM", "LLM_PROVIDER_BASE_URL", "EMBEDDING_RPM"))


SHOWN = {
    "repr": repr,
    "str": str,
    "format": lambda found: f"{found}",
    "vars": lambda found: str(vars(found)),
    "model_dump": lambda found: str(found.model_dump()),
    "values": lambda found: str(found.values()),
    "model_list": lambda found: str(found.model_list()),
    "pprint": lambda found: pprint.pformat(found.model_list()),
    "dict": lambda found: str(found.__dict__),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN.keys())
def test_a_key_is_never_shown(show: Any) -> None:
    shown = show(read(**CHAT, **EMBEDDING))
    assert KEY not in shown
    assert "…cdef" in shown


def test_a_pickle_holds_no_key_and_reads_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PROVIDER_API_KEY", KEY)
    found = Settings.load(dotenv=dotenv(tmp_path, EMBEDDING_PROVIDER_API_KEY=KEY, LLM_TPM="5"))
    pickled = pickle.dumps(found)
    assert KEY.encode() not in pickled
    copied = pickle.loads(pickled)
    assert (copied.llm_provider_api_key, copied.llm_tpm) == (KEY, 5)


def test_a_short_key_shows_nothing_at_all() -> None:
    assert repr(Secret("sk-short")) == "'…'"


def test_a_password_in_an_address_is_not_shown() -> None:
    found = read(LLM_PROVIDER_BASE_URL="https://me:hunter2@h.test/v1")
    assert "hunter2" not in repr(found) + str(vars(found))
    assert found.llm_provider_base_url == "https://me:hunter2@h.test/v1"


def test_settings_show_themselves_also_when_unusable(tmp_path: Path) -> None:
    assert repr(Settings(env={"LLM_TPM": "80k"}, dotenv=False)).startswith("<Settings unusable: LLM_TPM must be")


def test_the_model_list_has_the_form_a_router_takes() -> None:
    assert read(**CHAT, **EMBEDDING).model_list() == [
        {
            "model_name": "deepseek-ai/DeepSeek-V3.2-Exp",
            "litellm_params": {
                "model": "openai/deepseek-ai/DeepSeek-V3.2-Exp",
                "api_key": KEY,
                "base_url": "https://api.siliconflow.cn/v1",
                "tpm": 80_000,
                "rpm": 1_000,
            },
        },
        {
            "model_name": "BAAI/bge-m3",
            "litellm_params": {
                "model": "openai/BAAI/bge-m3",
                "api_key": KEY,
                "base_url": "https://api.siliconflow.cn/v1",
                "tpm": 80_000,
                "rpm": 1_000,
            },
        },
    ]


def test_the_model_list_says_only_what_is_set() -> None:
    (entry,) = read(LLM_PROVIDER="hosted_vllm", LLM_MODEL="m", LLM_PROVIDER_BASE_URL="http://127.0.0.1:8000/v1").model_list()
    assert entry == {"model_name": "m", "litellm_params": {"model": "hosted_vllm/m", "base_url": "http://127.0.0.1:8000/v1"}}


def test_the_providers_own_variables_fill_in_from_the_file(tmp_path: Path) -> None:
    file = dotenv(tmp_path, LLM_PROVIDER="siliconflow", LLM_MODEL="m", SILICONFLOW_API_KEY=KEY, SILICONFLOW_BASE_URL="https://h.test/v1")
    (entry,) = Settings.load(env={}, dotenv=file).model_list()
    assert entry["litellm_params"] == {"model": "siliconflow/m", "api_key": KEY, "base_url": "https://h.test/v1"}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, ["LLM_PROVIDER is not set", "LLM_MODEL is not set"]),
        ({"LLM_MODEL": "gpt-4o"}, ["LLM_PROVIDER is not set"]),
        ({"LLM_PROVIDER": "openai", "EMBEDDING_MODEL": "m"}, ["LLM_MODEL is not set", "EMBEDDING_PROVIDER is not set"]),
        ({"LLM_PROVIDER": "siliconflo", "LLM_MODEL": "m"}, ["LLM_PROVIDER: ", "siliconflow"]),
    ],
)
def test_a_model_list_that_cannot_be_says_why(env: dict[str, str], said: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**env).model_list()
    assert [part for part in said if part not in str(caught.value)] == []


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    found = Settings(env={}, dotenv=tmp_path / "later")
    (tmp_path / "later").write_text("LLM_TPM=7", "utf-8")
    assert found.llm_tpm == 7


def test_reload_reads_again_and_keeps_what_was_good(tmp_path: Path) -> None:
    found = Settings.load(env={}, dotenv=dotenv(tmp_path, LLM_TPM="1"))
    dotenv(tmp_path, LLM_TPM="2")
    assert found.llm_tpm == 1
    found.reload()
    assert found.llm_tpm == 2
    dotenv(tmp_path, LLM_TPM="two")
    with pytest.raises(ConfigurationError):
        found.reload()
    assert found.llm_tpm == 2


def test_the_file_is_searched_for_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (below / ".env").mkdir()  # some keep a virtual environment under that name
    file = dotenv(tmp_path, LLM_TPM="5")
    assert find_dotenv(below) == file
    monkeypatch.chdir(below)
    assert find_dotenv() == file
    assert Settings(env={}).llm_tpm == 5


@pytest.mark.parametrize("content", [b"LLM_TPM=\xff\xfe", b"LLM_TPM 5"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.env"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"mine\.env.* cannot be read"):
        Settings.load(env={}, dotenv=file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.env' is neither a file nor a directory"):
        Settings.load(env={}, dotenv=tmp_path / "missing.env")


def test_the_process_settings_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_MODEL", "one")
    settings.reload()
    assert settings.llm_model == "one"
    monkeypatch.setenv("LLM_MODEL", "two")
    assert settings.llm_model == "one"
    settings.reload()
    assert settings.llm_model == "two"
