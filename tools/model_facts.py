"""Rewrites `src/headrace/models/facts.json`, the prices, limits and capabilities of models: `make facts`.

Two packages ship such data. Neither is a dependency, and of their code only genai-prices' tables are run.

- genai-prices (pydantic, MIT): prices with their tiers, and context windows. Takes precedence for models it knows.
- litellm (MIT): the names users know models by, capabilities, output limits, and the prices of models unknown to
  genai-prices.

Rows use litellm's field names, since that is the format in which users register models; each names its source.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.common.peers import python_of, versions

ROOT: Final = Path(__file__).resolve().parents[1]
TARGET: Final = ROOT / "src" / "headrace" / "models" / "facts.json"

HOUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("anthropic",), "aws": ("bedrock", "bedrock_converse"), "azure": ("azure", "azure_ai"), "cerebras": ("cerebras",),
    "cloudflare": ("cloudflare",), "cohere": ("cohere", "cohere_chat"), "databricks": ("databricks",), "deepseek": ("deepseek",),
    "fireworks": ("fireworks_ai",), "github-copilot": ("github_copilot",), "google": ("gemini", "vertex_ai"), "groq": ("groq",),
    "minimax": ("minimax",), "mistral": ("mistral",), "moonshotai": ("moonshot",), "novita": ("novita",), "openai": ("openai",),
    "openrouter": ("openrouter",), "ovhcloud": ("ovhcloud",), "perplexity": ("perplexity",), "together": ("together_ai",),
    "voyageai": ("voyage",), "x-ai": ("xai",), "zai": ("zai",),
}  # fmt: skip
"""genai-prices' providers, and litellm's names for them."""

TOKENS: Final[Mapping[str, str]] = {
    "input_mtok": "input_cost_per_token", "output_mtok": "output_cost_per_token",
    "cache_read_mtok": "cache_read_input_token_cost", "cache_write_mtok": "cache_creation_input_token_cost",
    "cache_write_1h_mtok": "cache_creation_input_token_cost_above_1hr",
    "input_audio_mtok": "input_cost_per_audio_token", "output_audio_mtok": "output_cost_per_audio_token",
    "cache_audio_read_mtok": "cache_read_input_audio_token_cost",
    "input_image_mtok": "input_cost_per_image_token", "output_image_mtok": "output_cost_per_image_token",
    "cache_image_read_mtok": "cache_read_input_image_token_cost", "output_reasoning_mtok": "output_cost_per_reasoning_token",
    "input_video_mtok": "input_cost_per_video_token",
}  # fmt: skip
"""There, dollars per million tokens; here, dollars per token."""

VARIANTS: Final[Mapping[tuple[str, str], str]] = {
    ("service_tier", "priority"): "_priority", ("service_tier", "flex"): "_flex", ("service_tier", "fast"): "_fast",
    ("speed", "fast"): "_fast", ("processing", "batch"): "_batches",
}  # fmt: skip

KEPT: Final = frozenset({
    "litellm_provider", "mode", "max_tokens", "max_input_tokens", "max_output_tokens", "output_vector_size", "deprecation_date",
    "search_context_cost_per_query", "supported_endpoints", "supported_modalities", "supported_output_modalities",
})  # fmt: skip


def from_litellm(wheel: Path) -> dict[str, dict[str, Any]]:
    """Names, capabilities and prices from the wheel, which is unpacked, not installed."""
    with zipfile.ZipFile(wheel) as archive:
        table = json.loads(archive.read("litellm/model_prices_and_context_window_backup.json"))
    table.pop("sample_spec", None)
    return {name: dict(_kept(facts)) for name, facts in table.items() if facts.get("litellm_provider")}


def _kept(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        wanted = name in KEPT or (name.startswith("supports_") and value is True)
        if wanted or ("cost" in name and isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, value
    for step in facts.get("tiered_pricing") or ():
        yield from _of_a_range(step)


def _of_a_range(step: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Prices by range of prompt size: the first range has the model's base prices, later ones are named by their lower bound."""
    begins = int((step.get("range") or [0])[0]) // 1000
    for name, price in step.items():
        if name.endswith(("_per_token", "_token_cost")) and isinstance(price, int | float):
            yield f"{name}_above_{begins}k_tokens" if begins else name, price


def prices_of(model: Any, today: datetime) -> dict[str, float]:
    """A genai-prices model in litellm's fields: today's prices, by tier and service variant."""
    found = dict(_tokens(vars(model.get_prices(today)), ""))
    for variant in model.price_variants or ():
        mark = next((VARIANTS[pair] for pair in variant.when.items() if pair in VARIANTS and len(variant.when) == 1), None)
        if mark and (variant.constraint is None or variant.constraint.active(today)):
            for name, price in _tokens(vars(variant.prices), mark):
                found.setdefault(name, price)
    return found


def _tokens(prices: Mapping[str, Any], mark: str) -> Iterator[tuple[str, float]]:
    for unit, price in prices.items():
        if price is None or unit not in TOKENS:
            continue
        name = TOKENS[unit]
        yield name + mark, _a_token(getattr(price, "base", price))
        for tier in getattr(price, "tiers", ()):
            yield f"{name}_above_{tier.start // 1000}k_tokens{mark}", _a_token(tier.price)


def _a_token(dollars_a_million: Any) -> float:
    return float(dollars_a_million.scaleb(-6))


def searches_of(model: Any, today: datetime) -> dict[str, Any]:
    thousand = vars(model.get_prices(today)).get("web_searches_kcount")
    if thousand is None or hasattr(thousand, "tiers"):
        return {}
    one = float(thousand.scaleb(-3))
    return {"search_context_cost_per_query": {f"search_context_size_{size}": one for size in ("low", "medium", "high")}}


def merge(table: dict[str, dict[str, Any]], providers: list[Any], today: datetime, source: str) -> dict[str, dict[str, Any]]:
    """litellm's rows with genai-prices' prices and context windows where it knows the model, plus its other models."""
    houses = {name: provider for provider in providers for name in HOUSES.get(provider.id, ())}
    claimed: set[tuple[str, str]] = set()
    for name, facts in table.items():
        house = _house(facts["litellm_provider"])
        model = houses[house].find_model(_own_name(name, house)) if house in houses else None
        facts["source"] = "litellm"
        if model is not None:
            claimed.add((houses[house].id, model.id))
            _replace_prices(facts, model, today, source)
    for provider in providers:
        for house in HOUSES.get(provider.id, ())[:1]:
            for model in provider.models:
                if (provider.id, model.id) not in claimed and model.id[-1:].isalnum() and prices_of(model, today):
                    added = table.setdefault(f"{house}/{model.id}", {"litellm_provider": house})
                    _replace_prices(added, model, today, source)
    return table


def _replace_prices(facts: dict[str, Any], model: Any, today: datetime, source: str) -> None:
    prices = prices_of(model, today)
    if not prices:
        return
    bases = {re.sub(r"(_above_\d+k_tokens)?(_priority|_flex|_batches|_fast)?$", "", name) for name in prices}
    for name in [name for name in facts if any(name.startswith(base) for base in bases)]:
        del facts[name]
    facts.update(prices, source=source, **searches_of(model, today))
    if model.context_window and not facts.get("max_input_tokens"):
        facts["max_input_tokens"] = model.context_window


def _house(litellm_provider: str) -> str:
    return "vertex_ai" if litellm_provider.startswith("vertex_ai") else litellm_provider


def _own_name(name: str, house: str) -> str:
    """The provider's own name: without litellm's prefix and Bedrock's region."""
    for prefix in (house, "bedrock", "vertex_ai", "gemini"):
        name = name.removeprefix(f"{prefix}/")
    return re.sub(r"^[a-z]{2}(-[a-z]+)+-\d/", "", name)


def litellm_wheel(folder: Path) -> Path:
    """The wheel of the version measured as a peer. Downloaded, never installed."""
    wanted = f"litellm=={versions('litellm')['litellm']}"
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted, "--dest", str(folder)], check=True)
    return next(folder.glob("litellm-*.whl"))


def write(wheel: Path) -> None:
    """Write the merged table. Runs in the interpreter that has genai-prices."""
    from genai_prices.data import providers  # late: only its own environment has it

    rows = merge(from_litellm(wheel), providers, datetime.now(UTC), "genai-prices")
    about = {"made": date.today().isoformat(), "genai-prices": versions("facts")["genai-prices"], "litellm": wheel.name.split("-")[1]}
    lines = [json.dumps({"": about})[1:-1], *(json.dumps({name: rows[name]}, separators=(",", ":"))[1:-1] for name in sorted(rows))]
    TARGET.write_text("{" + ",\n".join(lines) + "}\n", "utf-8")
    print(f"{len(rows)} models, {TARGET.stat().st_size // 1024} KiB")


def main() -> int:
    if sys.argv[1:]:
        write(Path(sys.argv[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-m", "tools.model_facts", str(litellm_wheel(Path(folder)))]
        return subprocess.run([str(python_of("facts")), *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
