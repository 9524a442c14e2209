"""Guardrails: rules that mask or refuse what goes to a model and what comes back.

guard = Guardrails([PII(), Secrets(action="block")])
guard.install()                       # around every call of the process, direct or by a Router, streamed or whole
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec
from msgspec import Struct

from headrace.calls import Call, shape
from headrace.errors import BadRequestError, ConfigurationError, ContentPolicyViolationError, Failure, Kind
from headrace.layers import around, passed, texts
from headrace.layers.around import Handler
from headrace.layers.held import Held
from headrace.ports import Ports


class Finding(Struct, frozen=True):
    """A part of a text that a rule matched."""

    start: int
    end: int
    kind: str
    """Its kind, in capitals: `EMAIL_ADDRESS`. Never the text itself."""


class Rule(Protocol):
    """A guardrail. Each method may raise a HeadraceError, which the caller gets in its own dialect."""

    name: str
    default_on: bool
    """Whether it applies to every call, or only to those that name it in `guardrails`."""
    judges: bool
    """Whether `during` does anything."""

    async def before(self, ports: Ports, call: Call) -> Call:
        """The call as it may be sent."""
        ...

    async def during(self, ports: Ports, call: Call) -> None:
        """Judge a call while it is in flight; its response waits for the verdict."""
        ...

    async def after(self, ports: Ports, call: Call, answer: Any) -> Any:
        """The response as it may be returned."""
        ...

    def streamed(self, ports: Ports, call: Call, chunks: Any) -> Any:
        """A stream's chunks as they may be yielded."""
        ...


class Guardrail:
    """A rule over texts: subclasses find matches, `action` says what happens to them.

    action: "mask" replaces them by `<KIND>`, "block" refuses the call with ContentPolicyViolationError. block: kinds
    that are refused whatever `action` says. where: "input", "output" or both.
    """

    name: str = "guardrail"
    judges: bool = False
    window: ClassVar[int] = 64
    """Length in characters of the longest match: a stream is held back by that many."""

    def __init__(
        self,
        *,
        name: str | None = None,
        action: Literal["mask", "block"] = "mask",
        block: Sequence[str] = (),
        where: Sequence[Literal["input", "output"]] = ("input", "output"),
        default_on: bool = True,
    ) -> None:
        if action not in ("mask", "block"):
            raise ConfigurationError(f"a guardrail's action must be 'mask' or 'block', got {shape(action)}")
        if isinstance(where, str) or not set(where) <= {"input", "output"}:
            raise ConfigurationError(f"a guardrail's where must be a list of 'input' and 'output', got {shape(where)}")
        self.name = name or type(self).name
        self.action, self.where, self.default_on = action, frozenset(where), default_on
        self._blocked = frozenset(block)

    def find(self, text: str) -> Iterable[Finding]:
        """The rule's matches in `text`. Pure; the caller resolves overlaps."""
        raise NotImplementedError

    async def before(self, ports: Ports, call: Call) -> Call:
        look = passed.in_request if passed.is_passed(call) else texts.in_request
        return look(call, partial(self._apply, where="input")) if "input" in self.where else call

    async def during(self, ports: Ports, call: Call) -> None:
        """Does nothing: texts are checked before and after."""

    async def after(self, ports: Ports, call: Call, answer: Any) -> Any:
        return texts.in_answer(answer, partial(self._apply, where="output")) if "output" in self.where else answer

    def streamed(self, ports: Ports, call: Call, chunks: Any) -> Any:
        if "output" not in self.where:
            return chunks
        if passed.is_passed(call):
            return passed.held(chunks, self._apply_output, self._spans, self.window)
        return Held(chunks, call.operation.name, self._apply_output, self._spans, self.window)

    def _apply_output(self, text: str) -> str:
        return self._apply(text, where="output")

    def _spans(self, text: str) -> list[tuple[int, int]]:
        return [(found.start, found.end) for found in self.find(text)]

    def _apply(self, text: str, where: str) -> str:
        found = apart(self.find(text))
        if not found:
            return text
        if blocked := {one.kind for one in found if self.action == "block" or one.kind in self._blocked}:
            raise refused(self.name, where, sorted(blocked))
        return masked(text, found)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.action}s {' and '.join(sorted(self.where))}>"


def apart(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in order and without overlaps: the earlier wins, then the longer."""
    kept: list[Finding] = []
    for one in sorted(findings, key=lambda found: (found.start, -found.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def masked(text: str, findings: Iterable[Finding]) -> str:
    """The text with each finding replaced by its kind. Findings must not overlap."""
    parts, at = [], 0
    for one in findings:
        parts += [text[at : one.start], f"<{one.kind}>"]
        at = one.end
    return "".join([*parts, text[at:]])


def refused(name: str, where: str, kinds: Sequence[str]) -> ContentPolicyViolationError:
    """The error for the caller: the rule and the kinds of its findings, never the text."""
    message = f"the guardrail {name!r} refuses the {where}: {', '.join(kinds)}"
    return ContentPolicyViolationError.of(Failure(Kind.CONTENT_POLICY, message, status=400, code="guardrail", sent=where == "output"))


_ALWAYS: Final = ()


def _nothing(call: Call) -> Container[str]:
    return ()


class Guardrails:
    """Rules around every call, in order: each sees the result of those before it. One object can be installed only once."""

    def __init__(self, rules: Sequence[Rule], besides: Callable[[Call], Container[str]] | None = None) -> None:
        """besides: names of rules that apply to a call although it does not name them."""
        self._besides = besides or _nothing
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"guardrails need different names; got {', '.join(map(repr, names))}")
        self._rules = tuple(rules)

    def install(self) -> None:
        """Guard every call from now on, direct or by a Router. Installing it again changes nothing."""
        around.install(self._layer, session=self.check_session)

    def remove(self) -> None:
        around.remove(self._layer)

    async def _layer(self, ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
        return await self.answer(ports, call, handler)

    async def answer(self, ports: Ports, call: Call, handler: Handler) -> Any:
        """The handler's response to the call, after the rules were applied to both."""
        rules = self._of(call)
        if not rules:
            return await handler(ports, call)
        if call.raw and not passed.is_passed(call):
            call = msgspec.structs.replace(call, raw=False)
        for rule in rules:
            call = await rule.before(ports, call)
        answer = await _meanwhile(ports, call, handler, rules)
        for rule in rules:
            answer = rule.streamed(ports, call, answer) if call.stream else await rule.after(ports, call, answer)
        return answer

    def check_session(self, call: Call) -> None:
        """Raises ContentPolicyViolationError for a session, whose content cannot be inspected, if a rule applies to it."""
        if rules := self._of(call):
            message = f"the guardrail {rules[0].name!r} applies to this call, and the content of a session cannot be inspected"
            raise ContentPolicyViolationError.of(Failure(Kind.CONTENT_POLICY, message, status=400, code="guardrail"))

    def _of(self, call: Call) -> list[Rule]:
        """The rules that apply to a call: the default ones, and those it names.

        A call names them in `guardrails`, or in LiteLLM's `metadata`.
        """
        asked = call.control.get("guardrails") or (call.control.get("metadata") or {}).get("guardrails") or _ALWAYS
        if isinstance(asked, str) or not isinstance(asked, Sequence):
            raise BadRequestError(f"guardrails must be a list of names, got {shape(asked)}")
        known = {rule.name for rule in self._rules}
        if unknown := [name for name in asked if name not in known]:
            raise BadRequestError(f"guardrails: there is no {unknown[0]!r}; known: {', '.join(sorted(known)) or 'none'}")
        besides = self._besides(call)
        return [rule for rule in self._rules if rule.default_on or rule.name in asked or rule.name in besides]


async def _meanwhile(ports: Ports, call: Call, handler: Handler, rules: Sequence[Rule]) -> Any:
    """The handler's response, once every rule has judged the call; concurrently where tasks can be spawned."""
    judging = [rule for rule in rules if rule.judges]
    if not judging:
        return await handler(ports, call)
    if ports.spawn is None:
        for rule in judging:
            await rule.during(ports, call)
        return await handler(ports, call)
    verdict = _Verdict(ports)
    stop = ports.spawn(verdict.reach(call, judging))
    try:
        answer = await handler(ports, call)
        await verdict.wait()
    except BaseException:
        stop()
        raise
    if verdict.error is not None:
        if call.stream:
            answer.close()
        raise verdict.error
    return answer


class _Verdict:
    """The verdict of rules that judge a call concurrently."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._waiter = ports.clock.waiter()
        self._over = False
        self.error: Exception | None = None

    async def reach(self, call: Call, rules: Sequence[Rule]) -> None:
        try:
            for rule in rules:
                await rule.during(self._ports, call)
        except Exception as error:  # raised to the caller by `_meanwhile`
            self.error = error
        finally:
            self._over = True
            self._waiter.wake()

    async def wait(self) -> None:
        if not self._over:
            await self._waiter.wait(None)
