"""Settings from the environment and `.env`: the chat and embedding model of a program, with their provider, key and limits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar, overload

from headrace.dotenv import parse
from headrace.errors import BadRequestError, ConfigurationError
from headrace.providers.catalog import find_base_url, find_key, resolve
from headrace.providers.rows import split_url

T = TypeVar("T")


class Secret(str):
    """A key that behaves as a plain string but is masked by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.masked)

    @property
    def masked(self) -> str:
        return f"…{self[-4:]}" if len(self) >= 12 else "…"


class _Variable(Generic[T]):
    """One environment variable, read through an attribute of its lower-case name."""

    name: str

    def __init__(self, read: Callable[[str, str], T], example: str) -> None:
        self.read = read
        self.example = example
        """A valid value, for error messages."""

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.name = attribute.upper()


class _Required(_Variable[T]):
    """A variable whose attribute raises ConfigurationError if it is not set."""

    @overload
    def __get__(self, settings: None, owner: type) -> Self: ...
    @overload
    def __get__(self, settings: Settings, owner: type) -> T: ...
    def __get__(self, settings: Settings | None, owner: type) -> Self | T:
        if settings is None:
            return self
        values = settings.values()
        if self.name not in values:
            raise ConfigurationError(settings.missing(self.name))
        value: T = _plain(values[self.name])
        return value


class _Optional(_Variable[T]):
    """A variable whose attribute is None if it is not set."""

    @overload
    def __get__(self, settings: None, owner: type) -> Self: ...
    @overload
    def __get__(self, settings: Settings, owner: type) -> T | None: ...
    def __get__(self, settings: Settings | None, owner: type) -> Self | T | None:
        return self if settings is None else _plain(settings.values().get(self.name))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Secret) else value


def _word(name: str, text: str) -> str:
    if "/" in text or len(text.split()) != 1:
        raise ValueError(f"{name} must be one word without a slash, {_got(text)}")
    return text


def _model(name: str, text: str) -> str:
    if len(text.split()) != 1:
        raise ValueError(f"{name} must be the provider's own name for the model, without blanks, {_got(text)}")
    return text


def _url(name: str, text: str) -> str:
    parts = split_url(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name} must begin with http:// or https:// and name a host, {_got(text)} that do not")
    if parts.path.rstrip("/").endswith(("/chat/completions", "/embeddings")):
        raise ValueError(f"{name} must end before /chat/completions or /embeddings: headrace adds that part")
    return text.rstrip("/")


def _key(name: str, text: str) -> Secret:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{name} must be the bare key, {_got(text)} of which some are blanks or not ASCII")
    return Secret(text)


def _per_minute(what: str) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        digits = text.replace("_", "")
        if not (digits.isascii() and digits.isdigit()):
            raise ValueError(f"{name} must be a whole number of {what} per minute, {_got(text)} that are not all digits")
        if int(digits) == 0:
            raise ValueError(f"{name} must be at least 1; leave it out for no limit")
        return int(digits)

    return read


def _got(text: str) -> str:
    return f"got {len(text)} character{'s' if len(text) != 1 else ''}"


class Settings:
    """Settings from the environment, or else from `.env`. Read on first use; a blank value counts as not set.

    env: the environment, `os.environ` by default.
    dotenv: a `.env` file, or a directory in which and above which to look for one, the working directory by default.
    False for none.
    Every attribute raises ConfigurationError that lists all problems at once. Keys are masked in `repr`, `str`, `vars` and
    `model_dump`; their attributes return them in full.
    """

    __slots__ = ("_dotenv", "_env", "_file", "_raw", "_values")

    llm_provider = _Required(_word, "openai")
    llm_model = _Required(_model, "deepseek-ai/DeepSeek-V3.2-Exp")
    llm_provider_base_url = _Optional(_url, "https://api.siliconflow.cn/v1")
    llm_provider_api_key = _Optional(_key, "sk-…")
    llm_tpm = _Optional(_per_minute("tokens"), "80000")
    llm_rpm = _Optional(_per_minute("requests"), "1000")
    embedding_provider = _Required(_word, "openai")
    embedding_model = _Required(_model, "BAAI/bge-m3")
    embedding_provider_base_url = _Optional(_url, "https://api.siliconflow.cn/v1")
    embedding_provider_api_key = _Optional(_key, "sk-…")
    embedding_tpm = _Optional(_per_minute("tokens"), "500000")
    embedding_rpm = _Optional(_per_minute("requests"), "2000")

    def __init__(self, *, env: Mapping[str, str] | None = None, dotenv: str | os.PathLike[str] | bool = True) -> None:
        self._env = env
        self._dotenv = dotenv
        self._file: Path | None = None
        self._raw: Mapping[str, str] = {}
        self._values: dict[str, Any] | None = None

    @classmethod
    def load(cls, *, env: Mapping[str, str] | None = None, dotenv: str | os.PathLike[str] | bool = True) -> Self:
        """Settings read now rather than on first use. Raises ConfigurationError."""
        settings = cls(env=env, dotenv=dotenv)
        settings.reload()
        return settings

    def reload(self) -> None:
        """Read the environment and `.env` again. If that fails, the previous values are kept."""
        env = os.environ if self._env is None else self._env
        file = find_dotenv(self._dotenv)
        raw = {**(_read(file) if file else {}), **{name: value for name, value in env.items() if value.strip()}}
        values = _checked(self._variables(), raw)
        self._file, self._raw, self._values = file, raw, values

    @classmethod
    def _variables(cls) -> dict[str, _Variable[Any]]:
        return {found.name: found for owner in reversed(cls.__mro__) for found in vars(owner).values() if isinstance(found, _Variable)}

    def values(self) -> dict[str, Any]:
        """Every variable that is set, by name, with its parsed value; keys are `Secret`."""
        if self._values is None:
            self.reload()
        return dict(self._values or {})

    def missing(self, name: str) -> str:
        """The message for a variable that is not set."""
        example = self._variables()[name].example
        return f"{name} is not set: write {name}={example} (with your own value) into .env or the environment; read was {self.origin}"

    def model_list(self) -> list[dict[str, Any]]:
        """A Router's model list: the chat and the embedding model, whichever are set, under their own names.

        A key or base URL that is not set here is taken from the provider's own variable, such as OPENAI_API_KEY, also
        from `.env`. Raises ConfigurationError that lists everything missing or unknown.
        """
        values, problems = self.values(), []
        entries: list[dict[str, Any]] = []
        for group in ("LLM", "EMBEDDING"):
            missing = [name for name in (f"{group}_PROVIDER", f"{group}_MODEL") if name not in values]
            if len(missing) == 1:
                problems.append(self.missing(missing[0]))
            elif not missing:
                try:
                    entries.append(_entry(group, values, self._raw))
                except BadRequestError as error:
                    problems.append(f"{group}_PROVIDER: {error}")
        if not entries and not problems:
            problems = [self.missing(name) for name in ("LLM_PROVIDER", "LLM_MODEL")]
        if problems:
            raise _all(problems)
        return entries

    def model_dump(self) -> dict[str, Any]:
        """Every variable by its attribute name, None if not set, keys masked."""
        values = self.values()
        return {name.lower(): _shown(values.get(name)) for name in self._variables()}

    def __reduce__(self) -> tuple[object, ...]:
        # A copy reads the environment itself, so that secrets are not pickled.
        return _unread, (type(self), self._env, self._dotenv)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # so that vars() and its users show no key
        return self.model_dump()

    def __repr__(self) -> str:
        try:
            shown = " ".join(f"{name}={_shown(value)!r}" for name, value in self.values().items())
        except ConfigurationError as error:
            return f"<{type(self).__name__} unusable: {error}>"
        return f"<{type(self).__name__} {shown or 'empty'} from {self.origin}>"

    @property
    def origin(self) -> str:
        """Where the values came from."""
        return f"the environment and {self._file}" if self._file else "the environment; no .env was found"


def _unread(cls: type[Settings], env: Mapping[str, str] | None, dotenv: str | os.PathLike[str] | bool) -> Settings:
    return cls(env=env, dotenv=dotenv)


settings: Final = Settings()
"""The settings of this process: its environment, and the nearest `.env` in or above its working directory."""


def find_dotenv(where: str | os.PathLike[str] | bool = True) -> Path | None:
    """The `.env` in or above a directory (True: the working directory), or the file that `where` names.

    Raises ConfigurationError if `where` does not exist.
    """
    if where is False:
        return None
    start = Path.cwd() if where is True else Path(where).absolute()
    if start.is_file():
        return start
    if not start.is_dir():
        raise ConfigurationError(f"dotenv: {str(where)!r} is neither a file nor a directory; leave it out to search for .env")
    return next((file for folder in (start, *start.parents) if (file := folder / ".env").is_file()), None)


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigurationError(f"{file} cannot be read: {reason}") from None  # the original error would repeat the bytes
    return parse(text, where=str(file))


def _checked(variables: Mapping[str, _Variable[Any]], raw: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, variable in variables.items():
        if text := raw.get(name, "").strip():
            try:
                values[name] = variable.read(name, text)
            except ValueError as error:
                problems.append(f"{error}; write {name}={variable.example}")
    problems += _misspelt(variables, raw)
    if problems:
        raise _all(problems)
    return values


def _misspelt(variables: Mapping[str, _Variable[Any]], raw: Mapping[str, str]) -> list[str]:
    """Report names that are one typo away from a variable that is not set. Otherwise, a misspelt limit would silently not apply."""
    strange = [name for name in raw if name.startswith(("LLM_", "EMBEDDING_")) and name not in variables]
    if not strange:
        return []
    from difflib import get_close_matches  # late: rarely needed

    unset = [name for name in variables if not raw.get(name, "").strip()]
    meant = {name: get_close_matches(name, [one for one in unset if abs(len(one) - len(name)) < 2], 1, 0.85) for name in strange}
    return [f"{name} is not a setting; did you mean {close[0]}?" for name, close in meant.items() if close]


def _all(problems: list[str]) -> ConfigurationError:
    if len(problems) == 1:
        return ConfigurationError(problems[0])
    return ConfigurationError("\n- ".join([f"{len(problems)} settings cannot be used:", *problems]))


def _entry(group: str, values: Mapping[str, Any], raw: Mapping[str, str]) -> dict[str, Any]:
    model = f"{values[f'{group}_PROVIDER']}/{values[f'{group}_MODEL']}"
    base_url = values.get(f"{group}_PROVIDER_BASE_URL")
    provider = resolve(model, base_url=base_url).provider
    key = values.get(f"{group}_PROVIDER_API_KEY") or find_key(provider, raw)
    params = {
        "model": model,
        "api_key": None if key is None else Secret(key),
        "base_url": base_url or find_base_url(provider, raw),
        "tpm": values.get(f"{group}_TPM"),
        "rpm": values.get(f"{group}_RPM"),
    }
    given = {name: value for name, value in params.items() if value is not None}
    return {"model_name": values[f"{group}_MODEL"], "litellm_params": given}


def _shown(value: Any) -> Any:
    """A value for display: keys masked, passwords in URLs removed."""
    if isinstance(value, Secret):
        return value.masked
    if isinstance(value, str) and "://" in value:
        return re.sub(r"//[^/@]*@", "//…@", value)
    return value
