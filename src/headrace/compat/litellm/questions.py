"""litellm's queries that make no call: a model's provider, its capabilities and parameters, and which keys are set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from headrace.compat.litellm import model_sets
from headrace.compat.litellm.stand_in import setting
from headrace.errors import AuthenticationError, BadRequestError, HeadraceError
from headrace.models.facts import catalogue
from headrace.models.info import supports
from headrace.models.parameters import OPENAI_CHAT_COMPLETION_PARAMS, get_supported_openai_params, provider_or_none
from headrace.providers.catalog import catalog, find_base_url, find_key, resolve


def get_llm_provider(
    model: str, custom_llm_provider: str | None = None, api_base: str | None = None, api_key: str | None = None, litellm_params: Any = None
) -> tuple[str, str, str | None, str | None]:
    """(the provider's name for the model, the provider, its key, its base URL). Raises BadRequestError for an unknown model."""
    if model == "*":  # any model of any provider
        return model, "openai", api_key, api_base
    proxied = getattr(litellm_params, "use_litellm_proxy", None) or setting("use_litellm_proxy") or get_secret_bool("USE_LITELLM_PROXY")
    if proxied:
        custom_llm_provider = "litellm_proxy"
    try:
        found = resolve(model, custom_llm_provider=custom_llm_provider, base_url=api_base)
    except BadRequestError as error:
        raise BadRequestError(f"LLM Provider NOT provided. Pass model as 'provider/{model}'. {error.message}", model, "") from None
    provider = found.provider
    openai_like = provider.dialect == "openai_chat" and provider.name != "openai"
    address = api_base or (find_base_url(provider, os.environ) or provider.base_url or None if openai_like else None)
    key = api_key or (find_key(provider, os.environ) if openai_like else None)
    if key is None and openai_like and not provider.needs_key:
        key = "fake-api-key"  # as in litellm, for clients that require a key
    return found.model, _their_name(provider.name, found.model, model.partition("/")[0]), key, address


def _their_name(provider: str, model: str, said: str) -> str:
    """litellm's name of a provider, which differs for some models; headrace accepts all of them.

    `said`: the prefix of the full model name.
    """
    return (
        said
        if said in _SPELLED
        else next((name for house, models, name in _BY_MODEL if provider == house and re.match(models, model)), provider)
    )


_SPELLED: Final = frozenset({"ollama_chat", "sagemaker", "text-completion-openai", "cohere_chat", "cohere", "ai21_chat", "ai21"})
"""litellm's provider names that are aliases here, returned as given."""

_BY_MODEL: Final = (
    ("openai", r"gpt-3\.5-turbo-instruct|davinci-002|babbage-002|ft:(davinci|babbage)-002", "text-completion-openai"),
    ("cohere", r"command|c4ai", "cohere_chat"),
    ("ai21", r"jamba|j2", "ai21_chat"),
)


def get_optional_params(model: str, custom_llm_provider: str | None = None, **options: Any) -> dict[str, Any]:
    """The options that were given; the dialect converts them at the call."""
    known = (*OPENAI_CHAT_COMPLETION_PARAMS, "thinking")
    return {name: value for name, value in options.items() if value is not None and name in known}


def _ability(name: str) -> Callable[..., bool]:
    def ask(model: str, custom_llm_provider: str | None = None, **_: Any) -> bool:
        return supports(name, model, custom_llm_provider)

    ask.__name__ = ask.__qualname__ = f"supports_{name}"
    ask.__doc__ = f"Whether a model is known to support {name.replace('_', ' ')}. False for an unknown model."
    return ask


supports_function_calling = _ability("function_calling")
supports_vision = _ability("vision")
supports_response_schema = _ability("response_schema")
supports_reasoning = _ability("reasoning")
supports_tool_choice = _ability("tool_choice")
supports_pdf_input = _ability("pdf_input")
supports_audio_input = _ability("audio_input")
supports_audio_output = _ability("audio_output")
supports_prompt_caching = _ability("prompt_caching")
supports_parallel_function_calling = _ability("parallel_function_calling")
supports_system_messages = _ability("system_messages")
supports_web_search = _ability("web_search")
supports_computer_use = _ability("computer_use")
supports_native_structured_output = _ability("native_structured_output")


def supports_temperature(model: str, custom_llm_provider: str | None = None) -> bool:
    return "temperature" in (get_supported_openai_params(model, custom_llm_provider) or ())


def validate_environment(
    model: str | None = None, api_key: str | None = None, api_base: str | None = None, api_version: str | None = None
) -> dict[str, Any]:
    """Whether the key that a model needs is in the environment, and the variables that are missing."""
    provider = provider_or_none(model or "", None)
    if provider is None or api_key or not provider.needs_key or find_key(provider, os.environ):
        return {"keys_in_environment": provider is not None, "missing_keys": []}
    wanted = _KEYS.get(provider.name, provider.key_envs[:1])
    given = {"AZURE_API_BASE": api_base, "AZURE_API_VERSION": api_version}
    missing = [name for name in wanted if not (os.environ.get(name) or given.get(name))]
    return {"keys_in_environment": not missing, "missing_keys": missing}


_KEYS: Final[Mapping[str, Sequence[str]]] = {
    "azure": ("AZURE_API_BASE", "AZURE_API_VERSION", "AZURE_API_KEY"),
    "bedrock": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "vertex_ai": ("VERTEXAI_PROJECT", "VERTEXAI_LOCATION"),
}
"""litellm's variables for clouds, which need several."""


def check_valid_key(model: str, api_key: str) -> bool:
    """Whether the provider accepts the key. Makes a call."""
    from headrace.api import completion  # late: nothing else here makes a call

    try:
        completion(model, [{"role": "user", "content": "Hey, how's it going?"}], api_key=api_key, max_tokens=10)
    except AuthenticationError:
        return False
    except HeadraceError:
        return True
    return True


def get_model_cost_map(url: str = "") -> dict[str, Any]:
    """All known model facts; nothing is fetched."""
    return catalogue.table()


def get_valid_models(check_provider_endpoint: bool = False, custom_llm_provider: str | None = None) -> list[str]:
    """Models of the providers whose key is in the environment."""
    known = [row.name for row in catalog() if row.needs_key and find_key(row, os.environ)]
    return [name for house in known if custom_llm_provider in (None, house) for name in _by_provider().get(house, ())]


def get_response_cost_from_hidden_params(hidden_params: Any) -> float | None:
    cost: float | None = hidden_params.get("response_cost") if hasattr(hidden_params, "get") else None
    return cost


def get_secret_bool(secret_name: str, default_value: bool | None = None) -> bool | None:
    value = os.environ.get(secret_name.removeprefix("os.environ/"), "").strip().lower()
    return {"true": True, "false": False}.get(value, default_value)


def get_secret(secret_name: str, default_value: Any = None, optional_params: Any = None) -> Any:
    """An environment variable, by name or as `os.environ/NAME`; "true" and "false" become booleans."""
    value = get_secret_str(secret_name, default_value)
    return value if get_secret_bool(secret_name) is None else get_secret_bool(secret_name)


def get_secret_str(secret_name: str, default_value: str | None = None) -> str | None:
    return os.environ.get(secret_name.removeprefix("os.environ/"), default_value)


def get_standard_openai_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a call's options that OpenAI defines."""
    return {name: value for name, value in params.items() if name in OPENAI_CHAT_COMPLETION_PARAMS}


def get_content_from_model_response(response: Any) -> str:
    """The concatenated text of all choices of a response or chunk."""
    said = (getattr(choice, "message", None) or getattr(choice, "delta", None) for choice in response.choices)
    return "".join((one.get("content") or "") for one in said if one is not None)


def load_credentials_from_list(kwargs: dict[str, Any]) -> None:
    """Does nothing: named credentials are a feature of LiteLLM's proxy."""


def validate_and_fix_thinking_param(thinking: Any) -> Any:
    """`thinking` with `budgetTokens` renamed to `budget_tokens`."""
    if not isinstance(thinking, Mapping) or "budgetTokens" not in thinking:
        return thinking
    return {"budget_tokens" if name == "budgetTokens" else name: value for name, value in thinking.items()}


def peek_reasoning_summary_aliases(optional_params: Mapping[str, Any]) -> Any:
    """The reasoning summary option, in either spelling, from the options or their `extra_body`."""
    extra = optional_params.get("extra_body")
    places = (optional_params, extra if isinstance(extra, Mapping) else {})
    return next((place[name] for place in places for name in ("reasoningSummary", "reasoning_summary") if name in place), None)


def responses_api_bridge_check(model: str, custom_llm_provider: str, **_: Any) -> tuple[dict[str, Any], str]:
    """(facts, the provider's name for the model). Chats are never sent through the Responses API implicitly."""
    return dict(catalogue.find(model, custom_llm_provider) or {}), model


class ProviderConfigManager:
    """litellm's table of transformations, which headrace's dialects replace."""

    @staticmethod
    def get_provider_responses_api_config(provider: Any = None, model: str | None = None) -> None:
        return None


def exception_type(model: str = "", original_exception: Any = None, custom_llm_provider: str = "", *_: Any, **__: Any) -> Any:
    """Raise any exception as the matching HeadraceError, by its status."""
    from headrace.dialects.failures import read_error  # late: for programs that classify exceptions themselves
    from headrace.errors import APIConnectionError, error_of  # late: see above
    from headrace.wire import Headers, HttpResponse  # late: see above

    if isinstance(original_exception, HeadraceError):
        raise original_exception
    status = getattr(original_exception, "status_code", None)
    if not isinstance(status, int):
        raise APIConnectionError(str(original_exception), custom_llm_provider, model)
    response = HttpResponse(status, Headers(), str(original_exception).encode())
    raise error_of(read_error(response, provider=custom_llm_provider, model=model))


def _by_provider() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, facts in catalogue.table().items():
        found.setdefault(str(facts.get("litellm_provider") or ""), []).append(name)
    return found


def _embedders() -> list[str]:
    return [name for name, facts in catalogue.table().items() if facts.get("mode") == "embedding"]


def _houses() -> list[Any]:
    from headrace.compat.litellm.values import LlmProviders  # late: an enum of all providers

    return list(LlmProviders)


_TABLES: Final[Mapping[str, Callable[[], Any]]] = {
    **model_sets.TABLES,
    "model_cost": lambda: catalogue.table(),
    "model_list": lambda: [name for name in catalogue.table() if name != "sample_spec"],
    "models_by_provider": _by_provider,
    "all_embedding_models": _embedders,
    "provider_list": _houses,
    "openai_compatible_providers": lambda: [row.name for row in catalog() if row.dialect == "openai_chat" and row.name != "openai"],
}


def __getattr__(name: str) -> Sequence[Any] | Mapping[str, Any]:
    """Tables are built on first access."""
    if name not in _TABLES:
        raise AttributeError(name)
    made: Any = _TABLES[name]()
    globals()[name] = made
    return made  # type: ignore[no-any-return]
