"""Introspection of a Router: its deployments and groups, their usage, where a call would go, and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from headrace.calls import CHAT, EMBEDDINGS
from headrace.errors import BadRequestError
from headrace.routing.masking import masked

if TYPE_CHECKING:
    from headrace.routing.engine import Engine
    from headrace.routing.fleet import Fleet
    from headrace.routing.groups import ModelGroupInfo
    from headrace.routing.options import RouterOptions
    from headrace.routing.plan import Deployment


class Introspection:
    """Read-only methods, except `update_settings`."""

    _engine: Engine
    _fleet: Fleet

    # ---- deployments and groups --------------------------------------------------------------------------------------

    def get_deployment(self, model_id: str) -> Deployment | None:
        return self._fleet.plan.deployments.get(model_id)

    def get_model_names(self) -> list[str]:
        """Model groups and aliases that are not hidden."""
        plan = self._fleet.plan
        return [*plan.groups, *(alias for alias in plan.aliases if alias not in plan.hidden)]

    @property
    def model_names(self) -> set[str]:
        """Model groups."""
        return set(self._fleet.plan.groups)

    def get_model_ids(self, model_name: str | None = None) -> list[str]:
        return [deployment.id for deployment in self._fleet.serving(model_name)]

    def has_model_id(self, candidate_id: str) -> bool:
        return candidate_id in self._fleet.plan.deployments

    def get_model_list(self, model_name: str | None = None) -> list[dict[str, Any]]:
        """The configured entries with their ids, of all deployments or of one group.

        With an alias as `model_name`, its group's entries under the alias's name. Without it, also those behind every
        alias that is not hidden.
        """
        plan = self._fleet.plan
        if model_name is None:
            also = [alias for alias in plan.aliases if alias not in plan.hidden]
            return [*map(_entry, self._fleet.serving(None)), *[entry for alias in also for entry in self.get_model_list(alias)]]
        named = {"model_name": model_name} if model_name in plan.aliases else {}
        return [{**_entry(deployment), **named} for deployment in self._fleet.serving(model_name)]

    def get_model_info(self, id: str) -> dict[str, Any] | None:
        """The configured entry with that id; None if there is none."""
        deployment = self.get_deployment(id)
        return None if deployment is None else _entry(deployment)

    def get_deployment_credentials(self, deployment_id: str) -> dict[str, Any] | None:
        """The credentials of a deployment, unmasked: `api_key`, `api_base`, `api_version` and those of clouds.

        None if there is no such deployment, or it is blocked.
        """
        deployment = self.get_deployment(deployment_id)
        return None if deployment is None or deployment.blocked else credentials_of(deployment.control)

    def get_deployment_credentials_with_provider(self, model_id: str) -> dict[str, Any] | None:
        """The same with `custom_llm_provider`; the deployment by its id or its group's name."""
        found = self.get_deployment(model_id) or self.get_deployment_by_model_group_name(model_id)
        if found is None or found.blocked:
            return None
        return credentials_of(found.control) | {"custom_llm_provider": self._fleet.members[found.id].to.provider.name}

    def get_router_model_info(
        self, deployment: Mapping[str, Any] | None = None, received_model_name: str = "", id: str | None = None
    ) -> dict[str, Any]:
        """Facts about a deployment's model (`headrace.get_model_info`), merged with what its own entry says.

        The deployment is given by its entry or its id. Raises NotFoundError for an unknown model, BadRequestError if
        there is no such deployment.
        """
        from headrace.models.cost import is_price  # late: loads the model catalogue
        from headrace.models.info import get_model_info  # late: the same

        entry = deployment or (self.get_model_info(id) if id is not None else None)
        if entry is None:
            raise BadRequestError(f"give deployment= an entry of model_list, or id= one that a deployment has; got the id {id!r}")
        params, own = entry["litellm_params"], dict(entry.get("model_info") or {})
        name = own.get("base_model") or params.get("base_model") or params["model"]
        if "*" in name:
            name = received_model_name
        said = {field: value for field, value in params.items() if is_price(field)}
        return get_model_info(name, params.get("custom_llm_provider")) | {k: v for k, v in own.items() if v is not None} | said

    def get_model_group(self, id: str) -> list[dict[str, Any]] | None:
        """The entries of the group that contains a deployment; None if there is no such deployment."""
        deployment = self.get_deployment(id)
        return None if deployment is None else self.get_model_list(deployment.group)

    def get_model_group_info(self, model_group: str) -> ModelGroupInfo | None:
        """Limits and abilities of a group, aggregated from its deployments.

        None if there is no such group, or it is hidden.
        """
        from headrace.routing.groups import group_info  # late: loads the model catalogue

        members = () if model_group in self._fleet.plan.hidden else self._fleet.serving(model_group)
        return group_info(model_group, members) if members else None

    def get_model_access_groups(self, model_name: str | None = None, model_access_group: str | None = None) -> dict[str, list[str]]:
        """Model groups by the `access_groups` in their deployments' `model_info`."""
        found: dict[str, list[str]] = {}
        for deployment in self._fleet.serving(model_name):
            for name in deployment.model_info.get("access_groups") or ():
                if model_access_group in (None, name):
                    found.setdefault(name, []).append(deployment.group)
        return found

    def get_deployment_by_model_group_name(self, model_group_name: str) -> Deployment | None:
        """The first deployment of a group; None if there is no such group."""
        return next(iter(self._fleet.serving(model_group_name)), None)

    @property
    def model_list(self) -> list[Mapping[str, Any]]:
        """The entries as configured."""
        return [deployment.given for deployment in self._fleet.plan.deployments.values()]

    def print_deployment(self, deployment: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of an entry with its secrets masked."""
        return {**deployment, "litellm_params": masked(deployment["litellm_params"])}

    # ---- usage, and where a call would go ----------------------------------------------------------------------------

    async def get_model_group_usage(self, model_group: str) -> tuple[int | None, int | None]:
        """Tokens and requests that currently count against `tpm` and `rpm` of a group's deployments.

        None for a limit that no deployment has.
        """
        tokens, requests = (self._gauge(model_group, name) for name in ("tpm", "rpm"))
        return None if tokens is None else round(tokens[0]), None if requests is None else round(requests[0])

    async def get_remaining_model_group_usage(self, model_group: str) -> dict[str, int]:
        """What remains of these, under header names: `x-ratelimit-remaining-tokens`, `x-ratelimit-limit-requests`, …"""
        left: dict[str, int] = {}
        for name, limit in (("tokens", "tpm"), ("requests", "rpm")):
            if (gauge := self._gauge(model_group, limit)) is not None:
                used, most = gauge
                left |= {f"x-ratelimit-remaining-{name}": max(0, round(most - used)), f"x-ratelimit-limit-{name}": round(most)}
        return left

    def _gauge(self, model_group: str, limit: str) -> tuple[float, float] | None:
        """Used amount and size of a group's limit; None if it has no such limit.

        Deployments of one account are counted once.
        """
        accounts = {self._fleet.account_of(id): id for id in self.get_model_ids(model_group)}
        use = self._engine.snapshot()["deployments"]
        gauges = [use[id]["limits"][limit] for id in accounts.values() if limit in use[id]["limits"]]
        return (sum(gauge["used"] for gauge in gauges), sum(gauge["limit"] for gauge in gauges)) if gauges else None

    def get_available_deployment(
        self,
        model: str,
        messages: Sequence[Any] | None = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The entry that a call to the group `model` would use now.

        With `specific_deployment`, `model` is the id of the only candidate.

        Nothing is sent, and no room is taken. Raises RateLimitError, with the seconds to wait, if no deployment has
        room.
        """
        return _entry(self._engine.choose_blocking(*_asked(model, messages, input, specific_deployment, request_kwargs)))

    async def async_get_available_deployment(
        self,
        model: str,
        request_kwargs: Mapping[str, Any] | None = None,
        messages: Sequence[Any] | None = None,
        input: Any = None,
        specific_deployment: bool | None = False,
    ) -> dict[str, Any]:
        """`get_available_deployment`, async."""
        return _entry(await self._engine.choose(*_asked(model, messages, input, specific_deployment, request_kwargs)))

    async def async_get_healthy_deployments(
        self, model: str, request_kwargs: Mapping[str, Any] | None = None, messages: Any = None, input: Any = None, **_: Any
    ) -> list[dict[str, Any]]:
        """The entries of a group that are not in cooldown now, regardless of the call."""
        return [_entry(one) for one in self._fleet.serving(model) if not self._engine.health_of(one.id)["resting"]]

    # ---- settings ----------------------------------------------------------------------------------------------------

    def get_settings(self) -> dict[str, Any]:
        """Current settings of retries, fallbacks, cooldowns and routing, under litellm's names."""
        from headrace.routing.options import settings_of  # late: as in the engine

        return settings_of(self._engine.options)

    def update_settings(self, **changes: Unpack[RouterOptions]) -> None:
        """Change some options from the next call on; the rest stays. Raises as `set_options` does."""
        self._engine.use({**self._engine.options, **changes}, None)

    @staticmethod
    def get_valid_args() -> list[str]:
        """Names of a Router's parameters."""
        from headrace.routing.options import RouterOptions  # late: as in the engine

        return ["model_list", *RouterOptions.__annotations__]

    def validate_fallbacks(self, fallback_param: Any) -> None:
        """Raises ConfigurationError for fallbacks that are not in the form `[{"group": ["other"]}]`."""
        from headrace.routing.fallbacks import read_fallbacks  # late: as in the engine

        read_fallbacks(fallback_param)


_CREDENTIALS: Final = ("api_", "organization", "aws_", "azure_", "client_", "tenant_id", "vertex_", "watsonx_", "region_name")
"""Prefixes of options that hold credentials or say where they apply."""


def credentials_of(control: Mapping[str, Any]) -> dict[str, Any]:
    """The credential options of a deployment, with its address as litellm's `api_base`."""
    found = {name: value for name, value in control.items() if name.startswith(_CREDENTIALS)}
    return {"api_base": control["base_url"], **found} if "base_url" in control else found


def _entry(deployment: Deployment) -> dict[str, Any]:
    """The entry as configured, with its id."""
    return {**deployment.given, "model_info": deployment.model_info}


def _asked(model: str, messages: Any, input: Any, specific: bool | None, options: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """Arguments for the engine: operation, model, prompt, call options, and the id of the only candidate."""
    operation, prompt = (EMBEDDINGS, input) if messages is None and input is not None else (CHAT, messages or _SMALL)
    return operation, model, prompt, options or {}, model if specific else ""


_SMALL: Final = ({"role": "user", "content": "?"},)
