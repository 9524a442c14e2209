"""Facts about a model group, aggregated from its deployments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headrace.models.info import find
from headrace.objects import JsonObject
from headrace.routing.plan import Deployment

_SUMS: Final = ("tpm", "rpm", "itpm", "otpm")
_LARGEST: Final = ("max_input_tokens", "max_output_tokens", "input_cost_per_token", "output_cost_per_token")


class ModelGroupInfo(JsonObject):
    """A group's providers and limits, and what its models support. A `supports_…` field is true if any of them does."""

    model_group: str = ""
    providers: list[str]
    mode: str | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    """Of the most expensive deployment, in dollars."""
    tpm: int | None = None
    rpm: int | None = None
    itpm: int | None = None
    otpm: int | None = None
    """Sums over all deployments."""


def group_info(name: str, members: Sequence[Deployment]) -> ModelGroupInfo:
    facts = [{**facts_of(one), **one.model_info} for one in members]
    abilities = {key for fact in facts for key in fact if key.startswith("supports_")}
    return ModelGroupInfo(
        model_group=name,
        providers=sorted({one.model.partition("/")[0] for one in members}),
        mode=next((fact["mode"] for fact in facts if fact.get("mode")), None),
        **{key: max((fact[key] for fact in facts if fact.get(key) is not None), default=None) for key in _LARGEST},
        **{label: _sum(label, members) for label in _SUMS},
        **{key: any(fact.get(key) for fact in facts) for key in sorted(abilities)},
    )


def facts_of(deployment: Deployment) -> dict[str, Any]:
    """What the model catalogue knows about its model."""
    facts = find(deployment.priced_as) or find(deployment.model)
    return {} if facts is None else {"key": deployment.model, **facts}


def _sum(label: str, members: Sequence[Deployment]) -> int | None:
    return sum(limit.amount for one in members for limit in one.limits if limit.label == label) or None
