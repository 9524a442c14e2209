"""Configurations: their forms, and the errors about their mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.gateway.config import PROTECTING, Config, Mistakes, check_address, read_config
from headrace.gateway.general import Settings
from headrace.proxy_config import read_proxy_config
from headrace.routing.options import read_options

SECRET = "sk-very-secret-1234"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def read(path: Path, **environment: str) -> Config:
    return read_config(path, environment)


def mistakes(path: Path, **environment: str) -> list[tuple[str, str]]:
    """Line and message of each."""
    with pytest.raises(Mistakes) as caught:
        read_config(path, environment)
    assert SECRET not in str(caught.value)
    return [(problem.at.rpartition(":")[2], problem.what) for problem in caught.value.problems]


LITELLM = """
model_list:
  - model_name: gpt
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_KEY
      rpm: 60
  - model_name: "claude-*"
    litellm_params: {model: "anthropic/claude-*", api_key: sk-a}
litellm_settings:
  drop_params: true
  num_retries: 3
  request_timeout: 20
  fallbacks: [{gpt: ["claude-*"]}]
  success_callback: [langfuse]
router_settings:
  routing_strategy: simple-shuffle
  redis_url: os.environ/REDIS
general_settings:
  master_key: os.environ/MASTER
  max_request_size_mb: 2
  alerting: [slack]
environment_variables:
  HEADRACE_TEST_REGION: here
"""


def test_litellms_configuration_is_read_whole(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_KEY", "sk-o")
    monkeypatch.setenv("HEADRACE_TEST_REGION", "nowhere")
    found = read(written(LITELLM), OPENAI_KEY="sk-o", MASTER=SECRET, REDIS="redis://127.0.0.1:1/0")
    assert found.settings == Settings(key=SECRET, max_body=2 << 20)
    assert found.options["num_retries"] == 3
    assert found.options["timeout"] == 20
    assert found.options["redis_url"] == "redis://127.0.0.1:1/0"
    assert found.options["default_litellm_params"] == {"drop_params": True}
    assert found.unused == ("general_settings.alerting",)
    assert found.callbacks.lists == {"success_callback": ["langfuse"]}
    assert SECRET not in repr(found.settings)


def test_our_own_form_says_the_same_in_fewer_words(written: Any) -> None:
    short = """
models:
  gpt: openai/gpt-4o
  fast:
    - {model: groq/llama, api_key: k, rpm: 30, id: first}
    - {model: openai/mini, api_key: k, info: {base_model: gpt-4o-mini}}
router: {num_retries: 1}
gateway: {master_key: sk-x, keep_alive: 5}
"""
    found = read(written(short.replace("gpt: openai/gpt-4o", "gpt: {model: openai/gpt-4o, api_key: k}")))
    assert found.model_list == [
        {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o", "api_key": "k"}},
        {"model_name": "fast", "litellm_params": {"model": "groq/llama", "api_key": "k", "rpm": 30}, "model_info": {"id": "first"}},
        {"model_name": "fast", "litellm_params": {"model": "openai/mini", "api_key": "k"}, "model_info": {"base_model": "gpt-4o-mini"}},
    ]  # fmt: skip
    assert found.options == {"num_retries": 1}
    assert found.settings == Settings(key="sk-x", keep_alive=5)


def test_toml_and_json_say_it_as_well(written: Any) -> None:
    toml = read(written('[models]\ngpt = { model = "openai/gpt-4o", api_key = "k" }\n[gateway]\nmaster_key = "sk-x"\n', "c.toml"))
    given = {"models": {"gpt": {"model": "openai/gpt-4o", "api_key": "k"}}, "gateway": {"master_key": "sk-x"}}
    other = read(written(json.dumps(given), "c.json"))
    assert toml.model_list == other.model_list
    assert toml.settings == other.settings


BAD = """
model_list:
  - model_name: gpt
    litellm_params:
      model: openai/gpt-4o
      api_key: sk-very-secret-1234
      rpm: many
      tpm: -3
  - model_name: nowhere
    litellm_params: {model: nowhere-at-all/llama}
  - litellm_params: {model: openai/a, api_key: k}
router_settings:
  num_retries: -1
  routing_strategi: x
general_settings:
  master_key: os.environ/NOT_THERE
  max_body: big
modellist: 3
"""


@pytest.mark.parametrize(
    ("more", "environment", "told"),
    [
        ("general_settings: {database_url: 'mysql://me:sk-very-secret-1234@x/y'}", {}, "the database must be SQLite or PostgreSQL"),
        ("", {"DATABASE_URL": "oracle://x/y"}, "the database must be SQLite or PostgreSQL"),
        ("router_settings: {redis_url: 'http://x'}", {}, "redis_url: 'http' is not a scheme"),
        ("general_settings: {master_key: 5}", {}, "general_settings.master_key must be a string"),
    ],
)
def test_what_would_only_end_the_start_is_told_with_the_mistakes_and_once(
    written: Any, more: str, environment: dict[str, str], told: str
) -> None:
    text = f"model_list:\n  - model_name: gpt\n    litellm_params: {{model: openai/gpt-4o, api_key: k}}\n{more}\n"
    ((line, said),) = mistakes(written(text), **environment)
    assert told in said
    assert (line == "4") == bool(more)


def test_every_mistake_is_told_at_once_by_its_line(written: Any) -> None:
    found = mistakes(written(BAD))
    assert [line for line, _ in found] == ["18", "16", "17", "13", "14", "7", "8", "10", "11"]
    told = dict(found)
    assert "did you mean 'model_list'" in told["18"]
    assert told["16"] == "general_settings.master_key: the environment variable NOT_THERE is not set"
    assert told["17"].startswith("general_settings.max_body must be a whole number")
    assert told["13"].startswith("router_settings.num_retries:")
    assert "did you mean 'routing_strategy'" in told["14"]
    assert told["7"].startswith("model_list[0].litellm_params.rpm must be")
    assert told["8"].startswith("model_list[0].litellm_params.tpm must be")
    assert "nowhere-at-all" in told["10"]
    assert told["11"].startswith("model_list[2].model_name")


def test_mistakes_in_our_own_form_are_told_in_its_words(written: Any) -> None:
    text = "models:\n  gpt:\n    - model: openai/gpt-4o\n      api_key: k\n      rpm: many\n  other: 3\nrouter:\n  num_retries: -1\n"
    assert [(line, what[:24]) for line, what in mistakes(written(text))] == [
        ("6", "models.other must be a m"), ("8", "router.num_retries: num_"), ("5", "models.gpt[0].rpm must b"),
    ]  # fmt: skip


def test_a_fallback_to_nobody_is_told(written: Any) -> None:
    text = "models: {gpt: {model: openai/gpt-4o, api_key: k}}\nrouter:\n  fallbacks: [{gpt: [nobody]}]\n"
    ((line, what),) = mistakes(written(text))
    assert "nobody" in what
    assert line == "2"


def test_what_is_said_twice_is_told(written: Any) -> None:
    text = "models: {gpt: {model: openai/gpt-4o, api_key: k}}\ngateway: {keep_alive: 1}\ngateway: {keep_alive: 2}\n"
    assert mistakes(written(text)) == [("3", "gateway is given twice, and the second hides the first")]


MORE = """
model_list:
  - {{model_name: b, litellm_params: {{model: openai/b, api_key: k, rpm: {rpm}}}}}
router_settings: {{num_retries: 5}}
"""
INCLUDING = """
include: [more.yaml]
model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k}}
router_settings: {num_retries: 1}
"""


def test_included_files_add_to_a_configuration_and_keep_their_lines(written: Any) -> None:
    written(MORE.format(rpm="x"), "more.yaml")
    path = written(INCLUDING)
    with pytest.raises(Mistakes) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path.parent / 'more.yaml'}:3: model_list[1].litellm_params.rpm")
    written(MORE.format(rpm=3), "more.yaml")
    found = read(path)
    assert [entry["model_name"] for entry in found.model_list] == ["a", "b"]
    assert found.options["num_retries"] == 1
    assert {file.name for file in found.files} == {"config.yaml", "more.yaml"}


def test_files_that_include_one_another_are_refused(written: Any) -> None:
    written("include: [config.yaml]\n", "more.yaml")
    with pytest.raises(ConfigurationError, match="in a cycle"):
        read(written("include: [more.yaml]\n"))


def test_secrets_come_from_files_and_from_a_function_of_ones_own(written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    (tmp_path / "vault_of_mine.py").write_text("def look(name):\n    return {'provider': 'sk-from-vault'}[name]\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = f"""
models: {{gpt: {{model: openai/gpt-4o, api_key: "secret://provider"}}}}
gateway: {{master_key: "file://{tmp_path}/key", secret_hook: "vault_of_mine:look"}}
"""
    found = read(written(text))
    assert found.settings.key == SECRET
    assert found.model_list[0]["litellm_params"]["api_key"] == "sk-from-vault"
    assert tmp_path / "key" in found.files
    assert mistakes(written(text.replace("secret://provider", "secret://nothing"))) == [
        ("2", "models.gpt: the secret 'nothing' was not found: secret_hook raised KeyError")
    ]
    assert "cannot be read" in mistakes(written(text.replace("/key", "/no-key")))[0][1]
    assert "needs gateway.secret_hook" in mistakes(written(text.replace("secret_hook", "other")))[0][1]


@pytest.mark.parametrize("key", ["", "null", '""', "os.environ/NOT_THERE", "3"])
def test_a_master_key_that_is_named_and_not_there_does_not_leave_the_door_open(written: Any, key: str) -> None:
    text = f"models: {{gpt: {{model: openai/gpt-4o, api_key: k}}}}\ngeneral_settings: {{master_key: {key}}}\n"
    assert "master_key" in mistakes(written(text))[0][1]


def test_strangers_are_not_listened_to_without_a_key() -> None:
    check_address("127.0.0.1", Settings())
    check_address("0.0.0.0", Settings(key="sk-x"))
    with pytest.raises(ConfigurationError, match="master key"):
        check_address("0.0.0.0", Settings())


CREDENTIALS = """
credential_list:
  - credential_name: azure-eu
    credential_values: {api_key: os.environ/AZURE_EU, api_base: "https://eu.openai.azure.com", api_version: "2024-10-21"}
    credential_info: {description: everybody's}
model_list:
  - model_name: gpt
    litellm_params: {model: azure/gpt-4o, litellm_credential_name: azure-eu}
  - model_name: other
    litellm_params: {model: azure/gpt-4o, litellm_credential_name: azure-eu, api_base: "https://us.openai.azure.com"}
"""


def test_credentials_that_deployments_have_in_common_are_said_once(written: Any) -> None:
    path = written(CREDENTIALS)
    first, second = read(path, AZURE_EU="k").model_list
    assert first["litellm_params"] == {
        "model": "azure/gpt-4o", "api_key": "os.environ/AZURE_EU", "api_base": "https://eu.openai.azure.com", "api_version": "2024-10-21",
    }  # fmt: skip
    assert second["litellm_params"]["api_base"] == "https://us.openai.azure.com"
    assert read_proxy_config(path, {}).model_list == [first, second]


def test_credentials_that_are_not_there_are_told_by_their_line(written: Any) -> None:
    assert mistakes(
        written(CREDENTIALS.replace("litellm_credential_name: azure-eu}", "litellm_credential_name: azure-us}")), AZURE_EU="k"
    ) == [("8", "model_list[0].litellm_params.litellm_credential_name: credential_list has 'azure-eu', not 'azure-us'")]
    twice = CREDENTIALS + "  - {model_name: x, litellm_params: {model: openai/x, api_key: k}}\n"
    twice = twice.replace("credential_list:", "credential_list:\n  - {credential_name: azure-eu, credential_values: {}}")
    found = mistakes(written(twice), AZURE_EU="k")
    assert found[0] == ("4", "credential_list[1].credential_name must be a unique name, got a string of 8 characters")


@pytest.mark.parametrize("name", ["litellm_settings: {cache: %s}", "router_settings: {enable_tag_filtering: %s}"])
def test_yes_please_is_no_yes(written: Any, name: str) -> None:
    for said, taken in (("true", True), ('"True"', True), ("false", False)):
        assert read(written(GPT + name % said))
        assert read_options({"single_flight": taken}).single_flight is taken
    ((_, what),) = mistakes(written(GPT + name % "yes please"))
    assert what.endswith("must be true or false, got a string of 10 characters")


GPT = "model_list: [{model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: k}}]\n"


def test_health_checks_are_asked_for_where_litellm_has_them(written: Any) -> None:
    checked = GPT + "general_settings: {background_health_checks: true, health_check_interval: 60"
    policy = read_options(read(written(checked + "}")).options).checks
    assert (policy.interval, policy.routes) == (60, False)
    steered = read(written(checked + ", enable_health_check_routing: true, health_check_ignore_transient_errors: true}"))
    policy = read_options(steered.options).checks
    assert (policy.routes, policy.forgiving) == (True, True)
    assert steered.unused == ()
    assert read(written(GPT + "general_settings: {health_check_interval: 60}")).options == {}  # there it means nothing either


@pytest.mark.parametrize("name", PROTECTING)
def test_what_would_protect_is_not_left_out_in_silence(written: Any, name: str) -> None:
    section, _, inner = name.partition(".")
    text = GPT + (f"{section}: {{{inner}: 5}}" if inner else f"{section}: {{a: 5}}")
    ((line, what),) = mistakes(written(text))
    assert line == "2"
    assert what.startswith(f"{name} is not supported, and ignoring it would let more through: ")


def test_a_price_in_powers_of_ten_is_a_number(written: Any) -> None:
    price = GPT.replace("api_key: k}", "api_key: k, input_cost_per_token: %s}")
    for said, meant in (("1e-6", 1e-6), ("2E-6", 2e-6), ("1.5e-6", 1.5e-6)):
        assert read(written(price % said)).model_list[0]["litellm_params"]["input_cost_per_token"] == meant
    ((_, what),) = mistakes(written(price % '"1e-6"'))
    assert "must be a price in dollars" in what


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{type: redis, redis_startup_nodes: []}", "litellm_settings.cache_params: there is no 'redis_startup_nodes'"),
        ("{type: s3}", "litellm_settings.cache_params: a cache's type must be one of local, disk, redis"),
        ("{ttl: -1}", "litellm_settings.cache_params: ttl must be a positive number"),
    ],
)
def test_a_cache_that_cannot_be_made_is_told_with_the_mistakes(written: Any, params: str, said: str) -> None:
    """`headrace doctor` had nothing to say of it, and the gateway did not start."""
    ((line, what),) = mistakes(written(GPT + "litellm_settings:\n  cache: true\n  cache_params: " + params))
    assert line == "4"
    assert what.startswith(said)
    assert read(written(GPT + "litellm_settings: {cache: true, cache_params: {supported_call_types: [acompletion, atranscription]}}"))


def test_a_file_may_name_no_model_where_all_are_added_at_run_time(written: Any) -> None:
    found = read(written("general_settings: {store_model_in_db: true, master_key: sk-x}"))
    assert (list(found.model_list), found.router().get_model_ids()) == ([], [])
    ((_, what),) = mistakes(written("general_settings: {store_model_in_db: false, master_key: sk-x}"))
    assert what.startswith("model_list must be a list of at least one deployment")


def test_a_key_that_is_not_in_the_environment_is_one_mistake(written: Any) -> None:
    """It was two: that the variable is not set, and that the provider needs a key."""
    found = mistakes(
        written("model_list:\n  - {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: os.environ/NO_SUCH_KEY, rpm: x}}\n")
    )
    assert [what.rpartition("litellm_params.")[2].partition(" ")[0] for _, what in found] == ["api_key", "rpm"]
