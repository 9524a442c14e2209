"""Many deployments behind one name: the interface of a Router, with signatures and documentation.

The engine does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from headrace.calls import EMPTY, Operation
from headrace.routing.effort import without_other_efforts
from headrace.routing.face import Face
from headrace.routing.introspection import Introspection
from headrace.routing.speaking import Speaking
from headrace.routing.unsupported import missing

if TYPE_CHECKING:
    from headrace.layers.around import RouterLayer
    from headrace.limits import Availability, Left
    from headrace.limits.store import Store
    from headrace.objects import BinaryResponse
    from headrace.ports import Worlds
    from headrace.routing.fast_path import FastPath
    from headrace.routing.options import RouterOptions
    from headrace.routing.plan import Deployment
    from headrace.routing.scopes import ScopeLimits
    from headrace.routing.trail import Failed, Held
    from headrace.streams import AsyncStream


@cache
def _parameters() -> frozenset[str]:
    """Names of a Router's parameters."""
    from headrace.routing.options import RouterOptions  # late: as in the engine

    return frozenset(RouterOptions.__annotations__)


class Router(Face, Speaking, Introspection):
    """Makes calls by model group: reserves limits before sending, balances load, retries and falls back.

    Not instantiated directly: `headrace.Router` supplies the ports.
    """

    worlds: ClassVar[Worlds]
    stores: ClassVar[Callable[..., Store]]
    """Opens the store at an address: `url`, `host`, `port`, `password`, `db`."""
    caches: ClassVar[Callable[..., RouterLayer]]
    """Makes the `headrace.Cache` of `cache_kwargs`."""
    standing: ClassVar[Callable[[], Mapping[str, Any]]] = dict
    """Default options for what the constructor's caller does not give."""

    def __init__(
        self,
        model_list: Sequence[Mapping[str, Any]] | None = (),
        *,
        worlds: Worlds | None = None,
        **options: Unpack[RouterOptions],
    ) -> None:
        from headrace.routing.engine import Engine  # late: importing a Router alone does not load the limiter and the dialects

        own = type(self)
        if standing := own.standing():
            options = {**standing, **{name: value for name, value in options.items() if value is not None}}  # type: ignore[typeddict-item]
        self._engine = Engine(options, worlds or own.worlds, lambda **at: own.stores(**at), lambda **given: own.caches(**given))
        self._engine.router = self
        self._fleet = self._engine.fleet
        if model_list:  # deployments can also be added later, by add_deployment or set_model_list
            self.set_model_list(model_list)

    if not TYPE_CHECKING:  # type checkers must go on reporting unknown names

        def __getattr__(self, name: str) -> Any:
            """A Router's parameter by name: programs written for litellm read and set them as attributes."""
            if name in _parameters() and "_engine" in vars(self):
                return self._engine.parameter(name)
            raise AttributeError(missing(name), name=name, obj=self)

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _parameters() and "_engine" in vars(self):
                self.update_settings(**{name: value})
            else:
                super().__setattr__(name, value)

    @staticmethod
    def _deployment_params_with_request_reasoning_override(
        deployment_params: Mapping[str, Any], request_kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """litellm's name for a deployment's parameters as sent with a call that gives `reasoning_effort`."""
        return without_other_efforts(deployment_params, request_kwargs)

    async def _suspending(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        return await self._engine.suspending(operation, model, prompt, stream, options, place)

    def _blocking(
        self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any], place: Mapping[str, str] = EMPTY
    ) -> Any:
        return self._engine.blocking(operation, model, prompt, stream, options, place)

    def _defaults(self) -> Mapping[str, Any]:
        return self._engine.options.get("default_litellm_params") or {}

    async def acall(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        *,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str] = EMPTY,
        deployment: str = "",
    ) -> Any:
        """One call of any operation, as the gateway makes it. options: of the call and of the body, as sent.

        deployment: the id of the only one that may answer, for objects that a provider stores; empty for any.
        """
        return await self._engine.suspending(operation, model, prompt, stream, options, place, deployment)

    async def araw(
        self,
        operation: Operation,
        model: str,
        prompt: Any,
        *,
        stream: bool,
        options: Mapping[str, Any],
        place: Mapping[str, str] = EMPTY,
        deployment: str = "",
        before: Failed | None = None,
    ) -> AsyncStream[bytes] | BinaryResponse:
        """`acall`, answered in bytes of the operation's own dialect, for a caller that only forwards them.

        If the provider speaks that dialect, they are the provider's own bytes, whatever they contain; otherwise they
        are translated. A whole response is a `BinaryResponse` with the body in `content`. A stream yields pieces of
        whole server-sent events, up to and including the final one (`[DONE]`). As for any call, `_hidden_params` has
        deployment, headers and cost, and `usage` is set once the stream has reported it. Raises HeadraceError, in
        mid-stream too, for an error event inside the stream and for a stream that was cut (TruncatedStream); all
        complete events before it are yielded first, and no partial one.

        Not the provider's bytes: ids of responses that a deployment stores, a text in parts (Mistral), the rest of a
        chat that another deployment continued, and everything where a layer (a cache, a callback) needs objects.

        before: the call's first attempt, if it was made on the fast path and failed.
        """
        return await self._engine.in_bytes(operation, model, prompt, stream, options, place, deployment, before)

    def fast_path(self) -> FastPath:
        """The fast path for ordinary calls, for a caller that forwards bytes in the running event loop."""
        from headrace.routing.fast_path import FastPath  # late: only gateways use it

        return FastPath(self._engine)

    async def hold(self, operation: Operation, model: str, options: Mapping[str, Any]) -> Held:
        """A reservation under the limits of a deployment of `model`, for traffic that the Router does not send.

        Used for realtime sessions. Waits as a call does. The holder calls `settle` or `fail`, once.
        """
        return await self._engine.hold(operation, model, options)

    def offering(self, operation: Operation, model: str | None = None) -> list[str]:
        """Ids of deployments of one group, or of all, whose provider offers an operation; one per account."""
        return self._fleet.offering(operation.offer, model)

    def same_account(self, one: str, other: str) -> bool:
        """Whether two deployments call one provider with one key, so that objects stored by one are visible to the other.

        False if either does not exist.
        """
        members = [self._fleet.members.get(id) for id in (one, other)]
        return None not in members and len({member.to.credential for member in members if member is not None}) == 1

    def serves(self, model: str) -> bool:
        """Whether the name is a group, an alias, or matches a pattern."""
        return self._fleet.plan.group_of(model) is not None

    def set_custom_routing_strategy(self, custom: Any) -> None:
        """Set an object with litellm's `get_available_deployment` and `async_get_available_deployment` as the strategy.

        Each is called with `model`, `messages`, `input` and `request_kwargs`, and returns the entry of `model_list`
        that should serve the call, or its id; None leaves the choice to the Router.
        """
        self._engine.attempts.asking.use(custom)

    # ---- deployments -------------------------------------------------------------------------------------------------

    def set_model_list(self, model_list: Sequence[Mapping[str, Any]]) -> None:
        """Replace the whole configuration. Calls in flight end where they are; queued ones see the new deployments."""
        self._fleet.set(model_list)

    def set_options(self, model_list: Sequence[Mapping[str, Any]] | None = None, **options: Unpack[RouterOptions]) -> None:
        """Replace the options, and the deployments if given, for all calls from now on.

        What is not given returns to its default.

        Limits keep their usage, and calls in flight go on. Raises ConfigurationError, and changes nothing, for what
        cannot work, and for another store or `max_queue`: these two cannot change after construction.
        """
        self._engine.use(options, model_list)

    def add_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Add one entry of a model_list. Raises ConfigurationError if it cannot work."""
        return self._fleet.add(deployment)

    def upsert_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Replace the deployment with the same `model_info.id`, or add one if there is none."""
        return self._fleet.upsert(deployment)

    def delete_deployment(self, id: str) -> Deployment | None:
        """Remove a deployment. Returns None if there is none with this id."""
        return self._fleet.delete(id)

    # ---- scopes ------------------------------------------------------------------------------------------------------

    def add_scope(self, name: str, **limits: Unpack[ScopeLimits]) -> None:
        """Add limits (of a key, a team, all callers) that apply to the calls which name them in `scopes`.

        Adding a scope again replaces its limits and keeps what was used. Raises ConfigurationError that names scope and
        limit.
        """
        self._fleet.add_scope(name, limits)

    def charge_scope(self, name: str, money: int) -> None:
        """Count nano-dollars that were spent elsewhere, or before this process began, against the scope's budget."""
        self._engine.charge_scope(name, money)

    def remove_scope(self, name: str) -> None:
        """Remove a scope; calls that name it are refused from now on."""
        self._fleet.remove_scope(name)

    def left(self, scopes: Sequence[str]) -> list[Left]:
        """What is left now under each limit of these scopes."""
        return self._engine.left(scopes)

    # ---- introspection -----------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """The current usage of limits by deployment and by scope, and the queue of each group.

        `{"deployments": {id: …}, "scopes": {name: …}, "queues": {group: …}}`.
        """
        return self._engine.snapshot()

    def peek(
        self, model: str, *, input_tokens: int = 0, max_tokens: int = 0, tenant: str = "", priority: int = 1, scopes: Sequence[str] = ()
    ) -> Availability:
        """What a call of that size would find now: waiting calls, the expected wait and the limit that determines it."""
        return self._engine.peek(model, input_tokens, max_tokens, tenant=tenant, priority=priority, scopes=scopes)

    # ---- health ------------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, dict[str, Any]]:
        """The health of each deployment, by id.

        `healthy` by the latest check (None: no check, or inconclusive), `checked` seconds ago, its `error`; `resting`:
        seconds left of the cooldown; `failures`: consecutive failures.
        """
        return {id: self._engine.health_of(id) for id in self.get_model_ids()}

    async def ahealth_check(self, model: str | None = None) -> dict[str, Any]:
        """Check deployments now with a small request: those of one group, the one with that id, or all.

        Returns `{"healthy_endpoints": […], "unhealthy_endpoints": […]}`. A failure counts as any other does.
        Deployments that cannot be checked cheaply (images, audio, patterns), or have no room, are in neither list.
        """
        return await self._engine.acheck(model)

    def health_check(self, model: str | None = None) -> dict[str, Any]:
        """`ahealth_check`, blocking."""
        return self._engine.blocking_check(model)

    def close(self) -> None:
        """Stop the background health checks. Calls still work. Idempotent."""
        self._engine.checks.close()

    discard = close
    """litellm's name for `close`."""

    @property
    def has_cache(self) -> bool:
        """Whether responses are cached."""
        settings = self._engine.settings
        return settings.cache is not None or settings.cache_arguments is not None

    def flush_cache(self) -> None:
        """End all cooldowns and forget the responses cached in this process; limits keep their usage."""
        self._engine.flush()

    def reset(self) -> None:
        """`close` and `flush_cache`. Callbacks are kept."""
        self.close()
        self.flush_cache()

    async def aclose(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        groups = ", ".join(f"{name!r} {len(members)}" for name, members in self._fleet.plan.groups.items())
        return f"<Router {groups}>"
