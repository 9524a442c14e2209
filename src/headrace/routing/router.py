"""Many deployments behind one name. The loop in `_in_group` is the whole story of a call: reserve, attempt, settle, decide."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Unpack, overload

import msgspec
from msgspec import Struct

from headrace.bridge import complete
from headrace.calls import (
    CHAT,
    COMPLETIONS,
    DEFAULT_TIMEOUT,
    EMBEDDINGS,
    IMAGES,
    MODERATIONS,
    RERANK,
    ROUTING,
    SPEECH,
    TRANSCRIPTIONS,
    Call,
    CloudOptions,
    Operation,
    RouterChatOptions,
    RouterEmbeddingOptions,
    RouterTextOptions,
    prepare,
    shape,
    timeouts_of,
    whole_number,
)
from headrace.core import Destination, destination, fetch, open_stream, requests_for, retries_of
from headrace.dialects.quota import read_quota
from headrace.errors import BadRequestError, ConfigurationError, Failure, HeadraceError
from headrace.limits import (
    Ask,
    Availability,
    Charge,
    Limiter,
    LimiterSettings,
    Profile,
    Reservation,
    Used,
    override,
    profile_of,
)
from headrace.limits.money import PROMPT_DOUBT
from headrace.models.cost import Rates, bill_of
from headrace.models.tokens import estimate_encoded
from headrace.objects import (
    BinaryResponse,
    EmbeddingResponse,
    ImageResponse,
    JsonObject,
    ModelResponse,
    ModelResponseStream,
    ModerationResponse,
    RerankResponse,
    TextCompletionResponse,
    TranscriptionResponse,
)
from headrace.ports import Ports, Worlds
from headrace.routing.decide import Fallback, NextDeployment, RetryHere, RetryPolicy, Step, decide
from headrace.routing.events import Event, Hook, log_settled, tell
from headrace.routing.health import CooldownPolicy, Health, failed, succeeded
from headrace.routing.plan import Deployment, Plan, make_plan, read_deployment, read_deployments
from headrace.routing.strategies import STRATEGIES, Load, View
from headrace.streams import AsyncStream, Chunks, Stream

DEFAULT_MAX_OUTPUT: Final = 1024
"""Output tokens a call without max_tokens is reserved for, until its deployment has shown what it really writes."""


class _Member(Struct, eq=False):
    """A deployment at work."""

    deployment: Deployment
    to: Destination
    health: Health = msgspec.field(default_factory=Health)
    load: Load = msgspec.field(default_factory=Load)


class _Attempt(Struct, eq=False):
    """One attempt under way, settled exactly once."""

    member: _Member
    reservation: Reservation
    charge: Charge
    began: float
    record: dict[str, Any] = msgspec.field(default_factory=dict)
    """How it came about, as its caller reads it."""


class _Trail(Struct, eq=False):
    """What a call has been through."""

    errors: list[HeadraceError] = []
    waited: float = 0.0
    """Seconds in line, over all its attempts."""


class Router:
    """Calls by model group: limits kept before anything is sent, load spread, failures taken elsewhere.

    Not built directly: `headrace.Router` supplies the worlds it runs in.
    """

    worlds: ClassVar[Worlds]

    def __init__(
        self,
        model_list: Sequence[Mapping[str, Any]] = (),
        *,
        worlds: Worlds | None = None,
        num_retries: int | None = None,
        timeout: Any = None,
        stream_timeout: float | None = None,
        fallbacks: Any = None,
        default_fallbacks: Sequence[str] | None = None,
        model_group_alias: Mapping[str, Any] | None = None,
        routing_strategy: str = "headroom",
        cooldown_time: float | None = None,
        allowed_fails: int | None = None,
        disable_cooldowns: bool | None = None,
        retry_after: float = 0,
        max_wait: float | None = None,
        max_queue: int | None = None,
        default_litellm_params: Mapping[str, Any] | None = None,
        on_event: Hook | None = None,
    ) -> None:
        if routing_strategy not in STRATEGIES:
            known = ", ".join(repr(name) for name in STRATEGIES)
            raise ConfigurationError(f"routing_strategy must be one of {known}, got {shape(routing_strategy)}")
        self._worlds = worlds or type(self).worlds
        self._strategy = STRATEGIES[routing_strategy]
        self._retries = RetryPolicy(
            retries=2 if num_retries is None else whole_number("num_retries", num_retries),
            retry_after_min=_seconds("retry_after", retry_after),
        )
        self._cooldown = CooldownPolicy(
            cooldown=5.0 if cooldown_time is None else _seconds("cooldown_time", cooldown_time),
            allowed_fails=0 if allowed_fails is None else whole_number("allowed_fails", allowed_fails),
            disabled=bool(disable_cooldowns),
        )
        self._timeout, self._stream_timeout = timeout, stream_timeout
        timeouts_of(timeout, False), timeouts_of(stream_timeout, True)
        self._max_wait = None if max_wait is None else _seconds("max_wait", max_wait)
        self._defaults = dict(default_litellm_params or {})
        if on_event is not None and not callable(on_event):
            raise ConfigurationError(f"on_event must be a function of one event, got {shape(on_event)}")
        self._on_event = on_event
        self._behind: dict[str, Any] = {
            "aliases": model_group_alias,
            "fallbacks": fallbacks,
            "default_fallbacks": default_fallbacks,
        }
        settings = LimiterSettings() if max_queue is None else LimiterSettings(max_queue=whole_number("max_queue", max_queue))
        self._limiter = Limiter(settings=settings, random=None, on_queued=self._queued if on_event is not None else None)
        self._members: dict[str, _Member] = {}
        self._plan = Plan({}, {}, {}, {}, ())
        self._loads: dict[str, Load] = {}
        self._served: dict[str, list[_Member]] = {}
        """The members of each group."""
        self._tiered: set[str] = set()
        """Groups whose members are not all of one tier."""
        self._priced: set[str] = set()
        """Groups with members whose price is known."""
        self.set_model_list(model_list)

    # ---- calls -------------------------------------------------------------------------------------------------------

    @overload
    async def acompletion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> AsyncStream[ModelResponseStream]: ...
    @overload
    async def acompletion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[RouterChatOptions]
    ) -> ModelResponse: ...
    async def acompletion(self, model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
        """A chat completion from the group `model`; with `stream=True` an `AsyncStream` of chunks.

        Waits for room under the deployments' limits. Raises HeadraceError once retries and fallbacks are used up.
        """
        return await self._suspending(CHAT, model, messages, bool(stream), options)

    @overload
    def completion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[True], **options: Unpack[RouterChatOptions]
    ) -> Stream[ModelResponseStream]: ...
    @overload
    def completion(
        self, model: str, messages: Sequence[Any], *, stream: Literal[False] | None = None, **options: Unpack[RouterChatOptions]
    ) -> ModelResponse: ...
    def completion(self, model: str, messages: Sequence[Any], *, stream: bool | None = None, **options: Any) -> Any:
        """`acompletion` for callers without an event loop: blocks the calling thread."""
        return self._blocking(CHAT, model, messages, bool(stream), options)

    @overload
    async def atext_completion(
        self, model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[RouterTextOptions]
    ) -> AsyncStream[TextCompletionResponse]: ...
    @overload
    async def atext_completion(
        self, model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[RouterTextOptions]
    ) -> TextCompletionResponse: ...
    async def atext_completion(self, model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
        """A legacy text completion from the group `model`."""
        return await self._suspending(COMPLETIONS, model, prompt, bool(stream), options)

    @overload
    def text_completion(
        self, model: str, prompt: Any, *, stream: Literal[True], **options: Unpack[RouterTextOptions]
    ) -> Stream[TextCompletionResponse]: ...
    @overload
    def text_completion(
        self, model: str, prompt: Any, *, stream: Literal[False] | None = None, **options: Unpack[RouterTextOptions]
    ) -> TextCompletionResponse: ...
    def text_completion(self, model: str, prompt: Any, *, stream: bool | None = None, **options: Any) -> Any:
        """`atext_completion`, blocking."""
        return self._blocking(COMPLETIONS, model, prompt, bool(stream), options)

    async def aembedding(self, model: str, input: Any, **options: Unpack[RouterEmbeddingOptions]) -> EmbeddingResponse:
        """Embeddings of a text, a list of texts, or token ids, from the group `model`."""
        answer: EmbeddingResponse = await self._suspending(EMBEDDINGS, model, input, False, options)
        return answer

    def embedding(self, model: str, input: Any, **options: Unpack[RouterEmbeddingOptions]) -> EmbeddingResponse:
        """`aembedding`, blocking."""
        answer: EmbeddingResponse = self._blocking(EMBEDDINGS, model, input, False, options)
        return answer

    async def arerank(self, model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
        """Documents by their relevance to `query`, from the group `model`."""
        answer: RerankResponse = await self._suspending(RERANK, model, query, False, {"documents": list(documents), **options})
        return answer

    def rerank(self, model: str, query: str, documents: Sequence[str | Mapping[str, Any]], **options: Any) -> RerankResponse:
        """`arerank`, blocking."""
        answer: RerankResponse = self._blocking(RERANK, model, query, False, {"documents": list(documents), **options})
        return answer

    async def aimage_generation(self, prompt: str, model: str, **options: Any) -> ImageResponse:
        """Images of what `prompt` says, from the group `model`."""
        answer: ImageResponse = await self._suspending(IMAGES, model, prompt, False, options)
        return answer

    def image_generation(self, prompt: str, model: str, **options: Any) -> ImageResponse:
        """`aimage_generation`, blocking."""
        answer: ImageResponse = self._blocking(IMAGES, model, prompt, False, options)
        return answer

    async def atranscription(self, file: Any, model: str, **options: Any) -> TranscriptionResponse:
        """What is said in `file`, by the group `model`."""
        answer: TranscriptionResponse = await self._suspending(TRANSCRIPTIONS, model, file, False, options)
        return answer

    def transcription(self, file: Any, model: str, **options: Any) -> TranscriptionResponse:
        """`atranscription`, blocking."""
        answer: TranscriptionResponse = self._blocking(TRANSCRIPTIONS, model, file, False, options)
        return answer

    async def aspeech(self, model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
        """`input` spoken, by the group `model`."""
        answer: BinaryResponse = await self._suspending(SPEECH, model, input, False, {"voice": voice, **options})
        return answer

    def speech(self, model: str, input: str, voice: Any = None, **options: Any) -> BinaryResponse:
        """`aspeech`, blocking."""
        answer: BinaryResponse = self._blocking(SPEECH, model, input, False, {"voice": voice, **options})
        return answer

    async def amoderation(self, model: str, input: Any, **options: Any) -> ModerationResponse:
        """Whether texts or images are harmful, by the group `model`."""
        answer: ModerationResponse = await self._suspending(MODERATIONS, model, input, False, options)
        return answer

    def moderation(self, model: str, input: Any, **options: Any) -> ModerationResponse:
        """`amoderation`, blocking."""
        answer: ModerationResponse = self._blocking(MODERATIONS, model, input, False, options)
        return answer

    async def _suspending(self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any]) -> Any:
        answer = await self._call(self._worlds.suspending(), prepare(operation, model, prompt, stream, options))
        return AsyncStream(answer) if stream else answer

    def _blocking(self, operation: Operation, model: str, prompt: Any, stream: bool, options: Mapping[str, Any]) -> Any:
        answer = complete(self._call(self._worlds.blocking(), prepare(operation, model, prompt, stream, options)))
        return Stream(answer) if stream else answer

    # ---- the way of a call -------------------------------------------------------------------------------------------

    async def _call(self, ports: Ports, call: Call) -> Any:
        plan = self._plan
        group = plan.group_of(call.model)
        if group is None:
            raise BadRequestError(f"no deployment serves {call.model!r}; model groups: {', '.join(map(repr, plan.groups))}", call.model)
        chain = plan.chain(group, _names(call.control.get("fallbacks")))
        trail = _Trail()
        for position, name in enumerate(chain):
            answer = await self._in_group(ports, call, name, position + 1 < len(chain), trail)
            if answer is not None:
                return answer
        raise trail.errors[-1]

    async def _in_group(self, ports: Ports, call: Call, group: str, behind: bool, trail: _Trail) -> Any:
        """The answer; None when the next group should be asked, for the reason that ends `trail`."""
        tried: set[str] = set()
        attempt = 0
        while True:
            lease: _Attempt | None = None
            try:
                lease = await self._reserve(ports, call, group, tried, trail)
                return await self._attempt(ports, call, lease)
            except HeadraceError as error:
                attempt += 1
                trail.errors.append(error)
                if lease is not None:
                    tried.add(lease.member.deployment.id)
                # Without a lease it was our own queue that refused, for every deployment it could have gone to.
                others = lease is not None and any(deployment.id not in tried for deployment in self._plan.groups[group])
                match self._next(ports, call, error.failure, attempt, others, behind):
                    case NextDeployment():
                        continue
                    case RetryHere(after=seconds):
                        tried.clear()
                        if seconds > 0:
                            await ports.clock.sleep(seconds)
                    case Fallback():
                        return None
                    case _:
                        raise

    def _next(self, ports: Ports, call: Call, failure: Failure, attempt: int, others: bool, behind: bool) -> Step:
        return decide(
            failure,
            attempt,
            others=others,
            fallback=behind,
            policy=msgspec.structs.replace(self._retries, retries=retries_of(call.control, self._retries.retries)),
            jitter=ports.random(),
            queued=True,
        )

    async def _reserve(self, ports: Ports, call: Call, group: str, tried: set[str], trail: _Trail) -> _Attempt:
        while True:
            ask = self._ask(ports, call, group, tried, bool(trail.errors))
            reservation = await self._limiter.reserve(ask, ports.clock)
            trail.waited += reservation.waited
            now = ports.clock.now()
            member = self._members.get(reservation.deployment)
            if member is not None:
                member.load.running += 1
                if self._on_event is not None:
                    tell(
                        self._on_event,
                        Event(kind="sent", group=group, tenant=ask.tenant, deployment=member.deployment.id, waited=trail.waited),
                    )
                return _Attempt(member, reservation, reservation.charge, now, self._record(member, reservation, trail))
            self._limiter.release(reservation, now)  # the configuration was swapped in this very moment

    def _ask(self, ports: Ports, call: Call, group: str, tried: set[str], again: bool) -> Ask:
        control, now = call.control, ports.clock.now()
        given = _routing(control, now) if not ROUTING.isdisjoint(control) else {}
        charge = _charge(call)
        return Ask(
            group=group,
            charge=charge,
            charges=self._own_charges(group, call, charge) if group in self._priced or call.operation is EMBEDDINGS else None,
            max_wait=given.pop("max_wait", self._max_wait),
            only=self._eligible(group, tried, now),
            again=again,
            prefer=None if self._strategy is None else self._strategy(View(self._loads, ports.random)),
            **given,
        )

    def _own_charges(self, group: str, call: Call, charge: Charge) -> dict[str, Charge] | None:
        """What the call takes of deployments that differ: the most it can cost where prices are known, the requests it is sent in."""
        own = {}
        for member in self._served[group]:
            price, requests = member.deployment.price, requests_for(call, member.to.provider)
            if price is not None or requests > 1:
                money = 0 if price is None else price.most(int(charge.input * PROMPT_DOUBT), charge.max_output)
                own[member.deployment.id] = msgspec.structs.replace(charge, money=money, requests=requests)
        return own or None

    def _eligible(self, group: str, tried: set[str], now: float) -> frozenset[str] | None:
        """Deployments worth asking, None for all: not tried for this call, not resting unless all are, first tier first."""
        members = self._served[group]
        if len(members) == 1 or not (tried or group in self._tiered or any(member.health.until > now for member in members)):
            return None
        left = [member for member in members if member.deployment.id not in tried] or members
        awake = [member for member in left if not member.health.cooling(now)] or left
        tier = min([member.deployment.order for member in awake])
        chosen = [member for member in awake if member.deployment.order == tier]
        return None if len(chosen) == len(members) else frozenset([member.deployment.id for member in chosen])

    async def _attempt(self, ports: Ports, call: Call, lease: _Attempt) -> Any:
        member = lease.member
        try:
            timeouts = timeouts_of(self._time_limit(call, member.deployment), call.stream)
            to = (
                member.to
                if _ADDRESS.isdisjoint(call.control)
                else destination(member.deployment.model, {**member.deployment.control, **call.control})
            )
            answer: Any = await (open_stream if call.stream else fetch)(ports, call, to, timeouts)
        except HeadraceError as error:
            self._settle_failed(ports, lease, error)
            raise
        except BaseException:
            self._settle(ports, lease, None, None)
            raise
        hidden = answer.hidden if call.stream else answer._hidden_params
        hidden["model_id"], hidden["model_group"] = member.deployment.id, member.deployment.group
        hidden["headrace"], hidden.rates = lease.record, member.deployment.price
        if call.stream:
            member.load.observe(ports.clock.now() - lease.began)
            answer.when_over(lambda chunks, error: self._stream_over(ports, lease, chunks, error))
        else:
            member.load.observe(ports.clock.now() - lease.began)
            succeeded(member.health)
            used = _used(answer.get("usage") if isinstance(answer, JsonObject) else None, member.deployment.price)
            self._settle(ports, lease, used, hidden["additional_headers"])
        return answer

    def _time_limit(self, call: Call, deployment: Deployment) -> Any:
        for given in (call.control, deployment.control):
            if call.stream and given.get("stream_timeout") is not None:
                return given["stream_timeout"]
            if given.get("timeout") is not None:
                return given["timeout"]
        if call.stream and self._stream_timeout is not None:
            return self._stream_timeout
        return DEFAULT_TIMEOUT if self._timeout is None else self._timeout

    # ---- endings -----------------------------------------------------------------------------------------------------

    def _settle(self, ports: Ports, lease: _Attempt, used: Used | None, headers: Mapping[str, str] | None) -> None:
        lease.member.load.running -= 1
        view = read_quota(headers, family=lease.member.to.provider.quota) if headers else ()
        self._limiter.settle(lease.reservation, used=used, view=view, now=ports.clock.now())
        self._over(lease, used, None)

    def _settle_failed(self, ports: Ports, lease: _Attempt, error: HeadraceError) -> None:
        member, failure, now = lease.member, error.failure, ports.clock.now()
        member.load.running -= 1
        view = read_quota(failure.headers, family=member.to.provider.quota) if failure.headers else ()
        self._limiter.settle(lease.reservation, used=None, sent=failure.sent, failure=failure, view=view, now=now)
        self._over(lease, None, error)
        if len(self._plan.groups.get(member.deployment.group, ())) > 1:
            rest = failed(member.health, failure, now, self._cooldown)
            if rest is not None:
                self._limiter.pause(member.deployment.id, now + rest, now)

    def _stream_over(self, ports: Ports, lease: _Attempt, chunks: Chunks[Any], error: BaseException | None) -> None:
        if isinstance(error, HeadraceError):
            self._settle_failed(ports, lease, error)
            return
        if error is None:
            succeeded(lease.member.health)
        counted = {"prompt_tokens": lease.charge.input, "completion_tokens": chunks.count}
        used = _used(chunks.usage or counted, lease.member.deployment.price)  # a chunk is about a token, for want of a better word
        self._settle(ports, lease, used, chunks.hidden["additional_headers"])

    def _record(self, member: _Member, reservation: Reservation, trail: _Trail) -> dict[str, Any]:
        """The decision record: which deployment, after what wait, what bound, what failed before. `settled` follows."""
        return {
            "deployment": member.deployment.id,
            "waited": trail.waited,
            "binding": reservation.binding,
            "candidates": reservation.decided,
            "reserved": reservation.charge,
            "settled": None,
            "failed": [(error.failure.kind.value, error.model) for error in trail.errors],
        }

    def _queued(self, ask: Ask, found: Availability) -> None:
        tell(self._on_event, Event(kind="queued", group=ask.group, tenant=ask.tenant, availability=found))

    def _over(self, lease: _Attempt, used: Used | None, error: HeadraceError | None) -> None:
        """The call has ended: its record is complete."""
        deployment, record = lease.member.deployment, lease.record
        record["settled"] = used
        log_settled(record, deployment.group, error)
        if self._on_event is not None:
            event = Event(
                kind="settled", group=deployment.group, deployment=deployment.id, waited=record["waited"], record=record, error=error
            )
            tell(self._on_event, event)

    # ---- deployments -------------------------------------------------------------------------------------------------

    def set_model_list(self, model_list: Sequence[Mapping[str, Any]]) -> None:
        """Swap the whole configuration. Calls under way end where they are; queued ones see the new deployments."""
        self._adopt(read_deployments(model_list, os.environ))

    def add_deployment(self, deployment: Mapping[str, Any]) -> Deployment:
        """Add one entry of a model_list. Raises ConfigurationError when it cannot work."""
        added = read_deployment(deployment, "deployment", os.environ, taken=self._members)
        self._adopt([*self._plan.deployments.values(), added])
        return added

    def delete_deployment(self, id: str) -> Deployment | None:
        """Take a deployment out. None when there is none with this id."""
        gone = self._plan.deployments.get(id)
        if gone is not None:
            self._adopt([other for other in self._plan.deployments.values() if other.id != id])
        return gone

    def get_deployment(self, model_id: str) -> Deployment | None:
        return self._plan.deployments.get(model_id)

    def get_model_names(self) -> list[str]:
        """Model groups and their aliases."""
        return [*self._plan.groups, *self._plan.aliases]

    def get_model_ids(self) -> list[str]:
        return list(self._plan.deployments)

    @property
    def model_list(self) -> list[Mapping[str, Any]]:
        """The entries as they were configured."""
        return [deployment.given for deployment in self._plan.deployments.values()]

    def _adopt(self, deployments: Sequence[Deployment]) -> None:
        plan = make_plan(deployments, **self._behind)
        members = {deployment.id: self._members.get(deployment.id) or self._member(deployment) for deployment in deployments}
        for id in self._members.keys() - members.keys():
            self._limiter.remove(id)
        for id in members.keys() - self._members.keys():
            self._register(members[id])
        self._members, self._plan = members, plan
        self._loads = {id: member.load for id, member in members.items()}
        self._served = {group: [members[deployment.id] for deployment in served] for group, served in plan.groups.items()}
        self._tiered = {group for group, served in plan.groups.items() if len({deployment.order for deployment in served}) > 1}
        self._priced = {group for group, served in plan.groups.items() if any(deployment.price is not None for deployment in served)}

    def _member(self, deployment: Deployment) -> _Member:
        defaults = {**self._defaults, **deployment.defaults}
        options = {name: deployment.control[name] for name in _STANDING if name in deployment.control}
        try:
            to = msgspec.structs.replace(destination(deployment.model, deployment.control), defaults=defaults, options=options)
        except HeadraceError as error:
            raise ConfigurationError(f"deployment {deployment.group!r} ({deployment.model}): {error}") from error
        return _Member(deployment, to, load=Load(weight=deployment.weight))

    def _register(self, member: _Member) -> None:
        deployment = member.deployment
        self._limiter.add(
            deployment.id,
            group=deployment.group,
            limits=deployment.limits,
            profile=_profile(deployment, member.to.provider.profile),
            account=deployment.quota_group or member.to.account,
        )

    def snapshot(self) -> dict[str, Any]:
        """Each deployment's use of its limits and each group's queue, now: `{"deployments": {id: …}, "queues": {group: …}}`."""
        return self._limiter.snapshot(self._worlds.blocking().clock.now())

    def peek(self, model: str, *, input_tokens: int = 0, max_tokens: int = 0) -> Availability:
        """What a call of that size would find now: how many wait, how long it would, and which limit decides it."""
        group = self._plan.group_of(model) or model
        ask = Ask(group=group, charge=Charge(input=input_tokens, max_output=max_tokens))
        return self._limiter.peek(ask, self._worlds.blocking().clock.now())

    def __repr__(self) -> str:
        groups = ", ".join(f"{name!r} {len(members)}" for name, members in self._plan.groups.items())
        return f"<Router {groups}>"


_ADDRESS: Final = frozenset(CloudOptions.__annotations__) | {
    "api_key", "base_url", "api_base", "custom_llm_provider", "headers", "extra_headers", "organization",
}  # fmt: skip
"""Options of a call that change where it goes."""

_STANDING: Final = ("drop_params", "extra_body", "extra_query", "api_version", "fetch_media")


def _profile(deployment: Deployment, provider: str) -> Profile:
    """How the deployment's provider accounts, in the configuration's words where it has some."""
    given = deployment.profile
    return override(profile_of(provider), given) if isinstance(given, Mapping) else profile_of(given or provider)


def _charge(call: Call) -> Charge:
    most = call.max_output or DEFAULT_MAX_OUTPUT if call.operation in (CHAT, COMPLETIONS) else 0
    return Charge(input=estimate_encoded(bytes(call.encoded), call.prompt), max_output=most)


def _routing(control: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What a caller said about his call's place in the line."""
    given: dict[str, Any] = {}
    if "tenant" in control:
        given["tenant"] = str(control["tenant"])
    if "priority" in control:
        given["priority"] = whole_number("priority", control["priority"])
    if "deadline" in control:
        given["deadline"] = now + _seconds("deadline", control["deadline"])
    if "max_wait" in control:
        given["max_wait"] = _seconds("max_wait", control["max_wait"])
    return given


def _used(usage: Any, price: Rates | None) -> Used | None:
    """What the provider says was used; None when it says nothing."""
    if usage is None:
        return None
    money = 0 if price is None else price.of(bill_of(usage))
    details = usage.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if details is not None else 0) or 0
    input = usage.get("prompt_tokens") or usage.get("input_tokens") or 0
    return Used(input=input, output=usage.get("completion_tokens") or usage.get("output_tokens") or 0, cached=cached, money=money)


def _names(fallbacks: Any) -> Sequence[str]:
    """Fallbacks given with one call: a list of group names."""
    if fallbacks is None:
        return ()
    if not isinstance(fallbacks, Sequence) or isinstance(fallbacks, str) or not all(isinstance(name, str) for name in fallbacks):
        raise BadRequestError(f"fallbacks must be a list of model group names, got {shape(fallbacks)}")
    return fallbacks


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigurationError(f"{name} must be a number of seconds of at least 0, got {shape(value)}")
    return float(value)
