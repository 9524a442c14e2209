"""Many deployments behind one name: what a Router offers. Its signatures and documentation are here, its work is the engine's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from headrace.calls import EMPTY, Operation
from headrace.routing.effort import without_other_efforts
from headrace.routing.face import Face
from headrace.routing.looking import Looking
from headrace.routing.speaking import Speaking
from headrace.routing.theirs import missing

if TYPE_CHECKING:
    from headrace.layers.around import RouterLayer
    from headrace.limits import Availability, Left
    from headrace.limits.store import Store
    from headrace.objects import BinaryResponse
    from headrace.ports import Worlds
    from headrace.routing.options import RouterOptions
    from headrace.routing.plan import Deployment
    from headrace.routing.scopes import ScopeLimits
    from headrace.routing.straight import Straight
    from headrace.routing.trail import Failed, Held
    from headrace.streams import AsyncStream


@cache
def _parameters() -> frozenset[str]:
    """Names of what a Router is made with."""
    from headrace.routing.options import RouterOptions  # late: as in the engine

    return frozenset(RouterOptions.__annotations__)


class Router(Face, Speaking, Looking):
    """Calls by model group: limits kept before anything is sent, load spread, failures taken elsewhere.

    Not built directly: `headrace.Router` supplies the worlds it runs in.
    """

    worlds: ClassVar[Worlds]
    stores: ClassVar[Callable[..., Store]]
    """Opens the store at an address: `url`, `host`, `port`, `password`, `db`."""
    caches: ClassVar[Callable[..., RouterLayer]]
    """Makes the `headrace.Cache` of `cache_kwargs`."""
    standing: ClassVar[Callable[[], Mapping[str, Any]]] = dict
    """Options that hold for what a Router's maker leaves open."""

    def __init__(
        self,
        model_list: Sequence[Mapping[str, Any]] | None = (),
        *,
        worlds: Worlds | None = None,
        **options: Unpack[RouterOptions],
    ) -> None:
        from headrace.routing.engine import Engine  # late: whoever only imports a Router does not wait for its limiter and dialects

        own = type(self)
        if standing := own.standing():
            options = {**standing, **{name: value for name, value in options.items() if value is not None}}  # type: ignore[typeddict-item]
        self._engine = Engine(options, worlds or own.worlds, lambda **at: own.stores(**at), lambda **given: own.caches(**given))
        self._engine.router = self
        self._fleet = self._engine.fleet
        if model_list:  # one without deployments is given them later, by add_deployment or set_model_list
            self.set_model_list(model_list)

    if not TYPE_CHECKING:  # a checker should go on telling of names that are not there

        def __getattr__(self, name: str) -> Any:
            """litellm's programs read a Router's parameters as attributes, and set them."""
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
        """litellm's name for what is left of a deployment's parameters beside a call that says `reasoning_effort`."""
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
        """One call of any operation: what the gateway makes of a request. options: of the call and of the body, as they were sent.

        deployment: the id of the only one that can answer, for what a provider keeps; empty for any.
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
        """`acall`, answered in bytes of the operation's own dialect, for whoever only hands them on.

        Where the provider speaks that dialect they are the provider's own, byte for byte, whatever stands in them; else they are written
        anew. Whole: a `BinaryResponse`, the body in `content`. Streamed: pieces that each hold whole server-sent events, the proper end
        (`[DONE]`) among them. What is said of the call is said as ever: `_hidden_params` with deployment, headers and cost, `usage` once
        the stream has told it. Raises HeadraceError as ever, in mid-stream too, for an error inside it and for one that was cut
        (TruncatedStream): all events before it are handed out by then, and no part of one.

        Not the provider's bytes: ids of responses that a deployment keeps, a text in parts (Mistral), the rest of a chat that another
        deployment continued, and everything where a layer (a cache, a callback) has to have objects.

        before: the call's first attempt, where that was made on the straight way and failed.
        """
        return await self._engine.in_bytes(operation, model, prompt, stream, options, place, deployment, before)

    def straight(self) -> Straight:
        """The straight way of calls that nothing disturbs, for who passes bytes on in the running event loop."""
        from headrace.routing.straight import Straight  # late: gateways alone have it

        return Straight(self._engine)

    async def hold(self, operation: Operation, model: str, options: Mapping[str, Any]) -> Held:
        """Room under the limits of a deployment of `model`, for what is no call of this Router's: a session that somebody else holds there.

        Waits as a call does. Whoever has it calls `settle` or `fail`, once.
        """
        return await self._engine.hold(operation, model, options)

    def offering(self, operation: Operation, model: str | None = None) -> list[str]:
        """Ids of deployments whose provider is known to offer an operation, of one group or of all, each account once."""
        return self._fleet.offering(operation.offer, model)

    def same_account(self, one: str, other: str) -> bool:
        """Whether two deployments ask one provider with one key: what the one keeps the other knows. False where one is not there."""
        members = [self._fleet.members.get(id) for id in (one, other)]
        return None not in members and len({member.to.credential for member in members if member is not None}) == 1

    def serves(self, model: str) -> bool:
        """Whether a group, an alias or a pattern answers to the name."""
        return self._fleet.plan.group_of(model) is not None

    def set_custom_routing_strategy(self, custom: Any) -> None:
        """An object with litellm's `get_available_deployment` and `async_get_available_deployment`, each given `model`, `messages`, `input`
        and `request_kwargs`, and giving the entry of `model_list` that should serve the call, or its id; None leaves it to the Router."""
        self._engine.attempts.asking.use(custom)

    # ---- deployments -------------------------------------------------------------------------------------------------

    def set_model_list(self, model_list: Sequence[Mapping[str, Any]]) -> None:
        """Swap the whole configuration. Calls under way end where they are; queued ones see the new deployments."""
        self._fleet.set(model_list)

    def set_options(self, model_list: Sequence[Mapping[str, Any]] | None = None, **options: Unpack[RouterOptions]) -> None:
        """Other options, and where they are given other deployments, for the calls from now on; what is not given is as it is without.

        Limits keep what was used, calls under way go on. Raises ConfigurationError, and changes nothing, for what cannot work, and for
        another store or `max_queue`: a Router has the line and the store that it began with.
        """
        self._engine.use(options, model_list)

    def add_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Add one entry of a model_list. Raises ConfigurationError when it cannot work."""
        return self._fleet.add(deployment)

    def upsert_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Put a deployment in the place of the one with the same `model_info.id`; add it where there is none."""
        return self._fleet.upsert(deployment)

    def delete_deployment(self, id: str) -> Deployment | None:
        """Take a deployment out. None when there is none with this id."""
        return self._fleet.delete(id)

    # ---- limits of one's own -----------------------------------------------------------------------------------------

    def add_scope(self, name: str, **limits: Unpack[ScopeLimits]) -> None:
        """Limits of one's own (of a key, a team, everybody) for the calls that name them in `scopes`.

        Adding a scope again gives it other limits and keeps what was used. Raises ConfigurationError that names scope and limit.
        """
        self._fleet.add_scope(name, limits)

    def charge_scope(self, name: str, money: int) -> None:
        """Nano-dollars that were spent elsewhere, or before this process began: they count against the scope's budget from now on."""
        self._engine.charge_scope(name, money)

    def remove_scope(self, name: str) -> None:
        """Forget these limits; calls that name them are refused from now on."""
        self._fleet.remove_scope(name)

    def left(self, scopes: Sequence[str]) -> list[Left]:
        """What is left now under each limit of these scopes."""
        return self._engine.left(scopes)

    # ---- looking -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Each deployment's and scope's use of its limits and each group's queue, now.

        `{"deployments": {id: …}, "scopes": {name: …}, "queues": {group: …}}`.
        """
        return self._engine.snapshot()

    def peek(
        self, model: str, *, input_tokens: int = 0, max_tokens: int = 0, tenant: str = "", priority: int = 1, scopes: Sequence[str] = ()
    ) -> Availability:
        """What a call of that size would find now: how many wait, how long it would, and which limit decides it."""
        return self._engine.peek(model, input_tokens, max_tokens, tenant=tenant, priority=priority, scopes=scopes)

    # ---- health ------------------------------------------------------------------------------------------------------

    def health(self) -> dict[str, dict[str, Any]]:
        """How each deployment has been doing, by id: `healthy` as the latest check found it (None: there was none, or nobody could tell),
        `checked` so many seconds ago, its `error`; `resting` for so many more seconds; `failures` in a row."""
        return {id: self._engine.health_of(id) for id in self.get_model_ids()}

    async def ahealth_check(self, model: str | None = None) -> dict[str, Any]:
        """Ask each deployment now, of one group or of all, or the one with that id, a small question:
        `{"healthy_endpoints": […], "unhealthy_endpoints": […]}`.

        What fails counts as any other failure does. Deployments that cannot be asked for little (pictures, sounds, patterns), or have no
        room, are in neither list.
        """
        return await self._engine.acheck(model)

    def health_check(self, model: str | None = None) -> dict[str, Any]:
        """`ahealth_check`, blocking."""
        return self._engine.blocking_check(model)

    def close(self) -> None:
        """End what runs beside calls: health checks. Calls go on. Idempotent."""
        self._engine.checks.close()

    discard = close
    """litellm's name for it."""

    @property
    def has_cache(self) -> bool:
        """Whether answers are kept for whoever asks the same again."""
        settings = self._engine.settings
        return settings.cache is not None or settings.cache_arguments is not None

    def flush_cache(self) -> None:
        """Whoever rests is asked again, and the answers that this process keeps for the Router are forgotten; limits keep what was used."""
        self._engine.flush()

    def reset(self) -> None:
        """`close`, and `flush_cache`. Callbacks stay who they are."""
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
