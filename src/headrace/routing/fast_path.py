"""The fast path of the gateway: what depends only on caller and model is computed once, so each call is cheap.

It keeps limits, accounting and decision records as the engine's loop does. For anything out of the ordinary `lane` or
`begin` returns None, and the call takes the engine's loop, as it does after an attempt here that failed (`Failed`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.calls import CHAT, EMBEDDINGS, EMPTY, NOTHING, Call, Operation, timeouts_of
from headrace.core import answer_of, explain, hidden_of, source_of
from headrace.destinations import PYTHON
from headrace.dialects.anthropic_messages.responses import read_usage
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.quota import read_quota
from headrace.errors import HeadraceError, Kind
from headrace.limits import Ask, Charge, Used
from headrace.limits.members import NO_CALL, Seat
from headrace.limits.money import PROMPT_DOUBT
from headrace.models.prices import Beside, rates_for
from headrace.passing import in_bytes
from headrace.ports import Transport
from headrace.providers.hybrids import PLAIN
from headrace.providers.quirks import concerning
from headrace.routing.asking import DEFAULT_MAX_OUTPUT
from headrace.routing.events import LOGGER, log_settled
from headrace.routing.filters import can_continue
from headrace.routing.health import succeeded
from headrace.routing.plain_answers import READERS, Choice, Plain, Usage
from headrace.routing.strategies import View
from headrace.routing.trail import NUMBERS, Attempt, Failed, Member, Over, decision, used_of
from headrace.served import MESSAGES, RESPONSES
from headrace.streams import Source
from headrace.wire import Headers, HttpRequest, HttpResponse, Timeouts, TransportError
from headrace.writing import OPENAI, translation_of, write

if TYPE_CHECKING:
    from headrace.routing.engine import Engine

_log: Final = logging.getLogger(LOGGER)

_UNFELT: Final = frozenset({"drop_params"})
"""Options that matter only for parameters which a provider treats in its own way."""

OPERATIONS: Final = frozenset({CHAT, EMBEDDINGS, MESSAGES, RESPONSES})

NO_HEADERS: Final = Headers()


class Sending(Struct, frozen=True, eq=False):
    """How requests to one deployment are sent."""

    member: Member
    request: HttpRequest
    """Address and headers, without a body."""
    translation: Any
    """Reads responses in dialects other than OpenAI's own; the caller and the provider speak the same one."""
    particular: frozenset[str]
    """Parameters that this provider treats in its own way."""
    timeouts: Timeouts
    known: dict[str, Any]
    """Hidden parameters that every response from there has."""


class Lane(Struct, frozen=True, eq=False):
    """How the calls of one caller to one model are sent, valid until the configuration changes."""

    operation: Operation
    group: str
    stream: bool
    seat: Seat
    sendings: Mapping[str, Sending]
    """By deployment id."""
    alone: Member | None
    """The group's deployment if it has only one."""
    particular: frozenset[str]
    most_texts: int
    """Most texts in one embedding request; 0 for any number."""
    ask: Ask
    """Template of the request to the limiter."""
    call: Call
    """The call used where the caller gives no output limit."""
    stamp: object
    """The configuration that it was computed for."""


class FastPath:
    """The fast path through one engine, for one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ports = engine.worlds.suspending()
        self.now: Callable[[], float] = self._ports.clock.now
        """Current time in seconds, by the clock of the ports."""
        self.limiter = engine.limiter

    @property
    def transport(self) -> Transport:
        """The transport of the ports."""
        return self._ports.transport

    # ---- computed once -----------------------------------------------------------------------------------------------

    @property
    def stamp(self) -> object:
        """Replaced by a new object whenever the configuration changes."""
        return self._engine.fleet.stamp

    def lane(
        self, operation: Operation, model: str, stream: bool, tenant: str, scopes: Sequence[str], options: Mapping[str, Any] = EMPTY
    ) -> Lane | None:
        """The lane for such calls; None if they must take the engine's loop. Raises nothing: the loop reports errors.

        options: those that every such call has outside its body, out of `betas` and `seal`.
        """
        engine, fleet = self._engine, self._engine.fleet
        group = fleet.plan.group_of(model)
        if (
            operation not in OPERATIONS
            or (stream and operation.chunk is None)
            or group is None
            or not engine.plain
            or not self._ordinary(group)
        ):
            return None
        members = fleet.served.get(group, ())
        if not fleet.budgets.isdisjoint(scopes) and any(member.price is None for member in members):
            return None
        try:
            sendings = {member.deployment.id: self._sending(operation, member, stream, options) for member in members}
            seat = engine.limiter.seat(group, scopes)
        except HeadraceError:
            return None
        if stream and operation is CHAT and engine.settings.continues and self._continued(group, members):
            return None
        found = {id: sending for id, sending in sendings.items() if sending is not None}
        if len(found) < len(sendings):
            return None
        particular = frozenset().union(*[sending.particular for sending in found.values()])
        most = min([limit for member in members if (limit := member.to.provider.max_inputs)], default=0)
        ask = Ask(group, NO_CALL, tenant=tenant, scopes=tuple(scopes), **engine.attempts.asking.standing)
        call = Call(operation, model, {}, None, NOTHING, _control(options), stream, raw=True)
        return Lane(
            operation, group, stream, seat, found, members[0] if len(members) == 1 else None, particular,
            most if operation is EMBEDDINGS else 0, ask, call, fleet.stamp,
        )  # fmt: skip

    def _continued(self, group: str, members: Sequence[Member]) -> bool:
        """Whether any deployment could continue a chat of the group that broke off: then the text must be recorded."""
        fallbacks = self._engine.fleet.plan.fallbacks
        return any(fallbacks.behind((group,), kind) for kind in Kind) or any(can_continue(member.deployment) for member in members)

    def _ordinary(self, group: str) -> bool:
        """Whether every member of the group may serve every call, and only room, load and chance decide between them."""
        fleet = self._engine.fleet
        special = group in fleet.particular or group in fleet.tiered or self._engine.attempts.asking.minds(group)
        return not special

    def _sending(self, operation: Operation, member: Member, stream: bool, options: Mapping[str, Any]) -> Sending | None:
        """How to send a request whose body is the caller's own except for the model's name; None if more has to change."""
        to, deployment = member.to, member.deployment
        provider = to.provider
        speaks = operation.dialect == provider.dialect or operation.dialect in provider.speaks
        if operation.dialect == OPENAI:
            speaks = provider.dialect_of(operation.name) == OPENAI
        formed = operation.name in provider.forms or (operation.dialect != OPENAI and "chat" in provider.forms)
        packed = provider.framing or provider.envelope != PLAIN or provider.base_url == PYTHON or to.signer is not None
        if (
            not speaks
            or formed
            or packed
            or to.defaults
            or not to.options.keys() <= _UNFELT
            or deployment.tier_timeouts[stream]
            or "*" in deployment.model
        ):
            return None
        quirks = concerning(provider, operation.name, to.model) if operation.dialect == OPENAI else []
        if any(quirk.messages or quirk.default for quirk in quirks):
            return None
        names = [name for quirk in quirks for name in (*quirk.refuse, *quirk.rename, *quirk.rename_texts, *quirk.drop)]
        betas = {"betas": options["betas"]} if options.get("betas") else {}
        call = Call(operation, to.model, betas, None, NOTHING, _control(options), stream=stream, raw=True)
        timeouts = timeouts_of(self._engine.attempts.time_limit(call, deployment), stream)
        translation = translation_of(call, to)
        request = replace(write(call, to, translation), body=b"")
        known = {**hidden_of(to, NO_HEADERS), "model_id": deployment.id, "model_group": deployment.group}
        return Sending(member, request, translation, frozenset(names), timeouts, known)

    # ---- one call ----------------------------------------------------------------------------------------------------

    def begin(self, lane: Lane, prompt: int, most: int | None) -> Attempt | None:
        """A reservation for the call, taken at once; None if it has to wait, or a deployment needs to be probed.

        prompt: estimated tokens. most: the call's output limit in tokens, if it gives one.
        """
        engine, now, member = self._engine, self.now(), lane.alone
        written, stated = (0, True) if lane.operation.chunk is None else (most or DEFAULT_MAX_OUTPUT, bool(most))
        if member is not None:
            ask = replace(lane.ask, charge=_own_charge(member, prompt, written, stated), call=next(NUMBERS))
        else:
            several = self._among_several(lane, Charge(prompt, written, stated), now)
            if several is None:
                return None
            ask = several
        reservation = self.limiter.at_once(lane.seat, ask, now)
        if reservation is None:
            return None
        if member is None:
            member = lane.sendings[reservation.deployment].member
            if member.health.rests:
                engine.limiter.release(reservation, now)
                return None
        engine.called(self._ports)
        member.load.running += 1
        call = lane.call if most is None else replace(lane.call, body={"max_tokens": most})
        return Attempt(member, reservation, reservation.charge, call, now, ask, decision(member, reservation, ask))

    def _among_several(self, lane: Lane, charge: Charge, now: float) -> Ask | None:
        """The call's request to the limiter for one of several deployments.

        None if so many are in cooldown that all must be considered.
        """
        engine, fleet, count = self._engine, self._engine.fleet, len(lane.sendings)
        resting = fleet.resting(lane.group, now)
        if resting and count - len(resting) < engine.settings.cooldown.panic * count:
            return None
        charges = None
        if lane.group in fleet.priced or lane.group in fleet.capped:
            size = charge.input, charge.max_output, charge.stated
            charges = {id: _own_charge(sending.member, *size) for id, sending in lane.sendings.items()}
        prefer = self._preference(lane, charge, now)
        return replace(lane.ask, charge=charge, avoid=resting, charges=charges, prefer=prefer, call=next(NUMBERS))

    def _preference(self, lane: Lane, charge: Charge, now: float) -> Any:
        strategy, fleet = self._engine.settings.ways.of(lane.group).strategy, self._engine.fleet
        if strategy is None:
            return None
        return strategy(View(fleet.loads, self._ports.random, lane.stream, charge.input, charge.max_output, fleet.ids[lane.group], now))

    def leaves(self, attempt: Attempt) -> None:
        """Tell the limiter that the request is sent only now."""
        self._engine.limiter.leaves(attempt.reservation, self.now())

    def unsent(self, attempt: Attempt) -> None:
        """Release the reservation: nothing was sent."""
        if not attempt.reservation.open:
            return
        attempt.member.load.running -= 1
        self._engine.limiter.release(attempt.reservation, self.now())

    def read(self, attempt: Attempt, sending: Sending, response: HttpResponse) -> tuple[Beside, bytes]:
        """Hidden parameters of a whole response, and its body.

        Raises HeadraceError for a failure, as the engine's loop does.
        """
        read = _READ.get(attempt.call.operation)
        try:
            said = read(response.body) if read is not None and 200 <= response.status < 300 else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        if said is None:  # a failure, or a response that needs the full reader
            made = in_bytes(answer_of(attempt.call, attempt.member.to, sending.translation, sending.request.headers, response))
            hidden, body = cast("Beside", made._hidden_params), made.content
            hidden.update(sending.known)
        else:
            hidden, body = Beside(sending.known), response.body
            hidden.usage, hidden.tier = said.used, said.service_tier
        self._known(attempt, hidden, response.headers)
        return hidden, body

    def _known(self, attempt: Attempt, hidden: Beside, headers: Headers) -> None:
        hidden["additional_headers"], hidden["headrace"], hidden.rates = headers, attempt.record, attempt.member.price

    def plain(self, attempt: Attempt, sending: Sending, status: int, body: bytes) -> Plain | None:
        """The usage of a response that is plain, as most are; None for every other response."""
        read = READERS.get(attempt.call.operation)
        if read is None or not 200 <= status < 300:
            return None
        try:
            said = read(body)
        except (ValueError, RecursionError):
            return None
        usage, known = said.usage, sending.known
        input, output = usage.prompt_tokens, usage.completion_tokens
        if input <= 0 or output < 0 or usage != Usage(input, output):
            return None
        rates = attempt.member.price or rates_for(known["model"], known["custom_llm_provider"], said.service_tier or "")
        return Plain(input, output, None if rates is None else rates.of_plain(input, output))

    def answered(self, attempt: Attempt, answer: Plain | Beside, headers: Sequence[tuple[bytes, bytes]]) -> float:
        """Do the accounting after a whole response. Returns the clock time."""
        engine, member, reservation, now = self._engine, attempt.member, attempt.reservation, self.now()
        load, health, price = member.load, member.health, member.price
        load.observe(now - attempt.began, stream=False, now=now)
        load.running -= 1
        if health.rests:
            engine.limiter.resume(member.deployment.id, now)
        if health.fails or health.rests:
            succeeded(health)
        if isinstance(answer, Plain):
            used: Used | None = Used(answer.input, answer.output, 0, 0 if price is None else answer.cost or 0)
        else:
            used = used_of(answer.usage, price, answer)
        view = read_quota(Headers(headers), family=member.to.provider.quota) if reservation.heard else ()
        self.limiter.settle(reservation, used=used, view=view, now=now)
        attempt.record["settled"] = used
        if _log.isEnabledFor(level := engine.attempts.log_level):
            log_settled(attempt.record, attempt.ask.group, None, level=level)
        return now

    def explained(self, attempt: Attempt, error: TransportError, *, streaming: bool = False) -> HeadraceError:
        return explain(error, attempt.member.to, streaming=streaming)

    def watch(self, attempt: Attempt, sending: Sending, headers: Headers) -> tuple[Beside, Source[bytes]]:
        """Hidden parameters of a stream from its headers, and the source that turns upstream bytes into the caller's."""
        hidden = Beside(sending.known)
        self._known(attempt, hidden, headers)
        return hidden, source_of(attempt.call, attempt.member.to, sending.translation, hidden, None)

    def first(self, attempt: Attempt, now: float) -> None:
        """The first chunk of a stream has arrived."""
        attempt.member.load.observe(now - attempt.began, stream=True, now=now)

    def over(self, attempt: Attempt, told: Over, error: BaseException | None) -> None:
        """Do the accounting after a stream. error: what broke it off, or what its caller left with."""
        self._engine.attempts.stream_over(self._ports, attempt, told, error)

    def failed(self, attempt: Attempt, error: HeadraceError) -> Failed:
        """Do the accounting after a failed attempt. Returns what the engine's loop needs to continue."""
        self._engine.attempts.settle_failed(self._ports, attempt, error)
        return Failed(attempt, error)

    def left(self, attempt: Attempt, error: BaseException) -> None:
        """Do the accounting after a caller that left before the response."""
        attempt.member.load.at_least(self.now() - attempt.began, attempt.call.stream)
        self._engine.attempts.settle(self._ports, attempt, None, None, error)


def _own_charge(member: Member, prompt: int, most: int, stated: bool) -> Charge:
    """The call's charge at a deployment, as `Asking.own_charges` computes it for chats. most: 0 if nothing is written."""
    if most and not stated:
        most = member.most_output or most
    money = 0 if member.price is None else member.price.most(int(prompt * PROMPT_DOUBT), most)
    return Charge(prompt, most, stated, money=money)


def _control(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"seal": options["seal"]} if options.get("seal") else {}


class _Answer(Struct):
    """An ordinary chat response: texts where clients expect them, and no error in place of one."""

    choices: list[Choice]
    usage: dict[str, Any] | None = None
    service_tier: str | None = None

    @property
    def used(self) -> dict[str, Any] | None:
        """Usage in OpenAI's form."""
        return self.usage


class _Vectors(Struct):
    """Embeddings in any form."""

    data: list[msgspec.Raw]
    usage: dict[str, Any] | None = None
    service_tier: str | None = None

    @property
    def used(self) -> dict[str, Any] | None:
        return self.usage


class _Block(Struct):
    type: str


class _AnthropicMessage(Struct):
    """An Anthropic message with an ordinary stop reason."""

    type: Literal["message"]
    content: list[_Block]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    usage: dict[str, Any]
    service_tier: str | None = None

    @property
    def used(self) -> dict[str, Any] | None:
        return write_usage(read_usage(self.usage)) if self.usage else None


_READ: Final[Mapping[Operation, Callable[[bytes], Any]]] = {
    CHAT: msgspec.json.Decoder(_Answer).decode,
    EMBEDDINGS: msgspec.json.Decoder(_Vectors).decode,
    MESSAGES: msgspec.json.Decoder(_AnthropicMessage).decode,
}
"""Decoders of ordinary responses by operation; all others go through the full reader."""
