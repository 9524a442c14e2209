"""The cost of batches and of background responses.

A task polls those in progress and bills each once it is done, to the key, team and user that created it. A batch is
billed at its provider's batch prices, as one ledger record per model.

Reasons: docs/decisions/0023-batches-are-billed-when-done.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import msgspec
from msgspec import Struct

from headrace.api import Router
from headrace.calls import Operation
from headrace.downloads import reads_in_pieces
from headrace.errors import HeadraceError, Kind
from headrace.gateway.ledger import order_table
from headrace.gateway.orders import INTERACTION, MESSAGES, RESPONSE, WORKING, Order
from headrace.gateway.own_lists import OVER
from headrace.gateway.records import Outcome, Record, of_answer
from headrace.kept import BATCH, FILE_CONTENT
from headrace.models.cost import Bill, Rates, bill_of, is_price, rates_of
from headrace.models.info import find
from headrace.multipart import MOST_IN_MEMORY
from headrace.providers.catalog import resolve
from headrace.routing.plan import Deployment
from headrace.runtime.sql import Database
from headrace.runtime.sql_drivers import DatabaseError
from headrace.served import RESPONSE as GET_RESPONSE
from headrace.served import RESPONSES, marked_id
from headrace.through import PASSED, ThroughRequest

log: Final = logging.getLogger("headrace.gateway")

EVERY: Final = 5.0
"""Seconds between checks of the table."""
SOONEST: Final = 60.0
SELDOM: Final = 1800.0
"""Bounds of the seconds between two polls of a provider about one batch, which are an eighth of the batch's age."""
AT_WORK: Final = 600.0
"""Seconds for which a process that polls a batch has it to itself."""
GIVEN_UP: Final = 30 * 86_400.0
"""Seconds after which polling stops.

OpenAI and Anthropic keep results for 29 or 30 days (platform.openai.com/docs/guides/batch,
docs.claude.com/en/docs/build-with-claude/batch-processing, from memory).
"""
TENANT: Final = "headrace batches"
"""The tenant of the polls, in events and in the queue."""


class Batches:
    """Polls and bills batches until cancelled."""

    def __init__(self, database: Database, router: Router, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._router = router
        self._clock = clock

    async def run(self) -> None:
        """Poll and bill until cancelled."""
        while True:
            try:
                await self.round()
            except DatabaseError as error:
                log.warning("cannot bill batches at present: the database does not respond (%s)", error)
            except Exception:
                log.exception("cannot bill batches at present: internal error in the gateway")
            await asyncio.sleep(EVERY)

    async def round(self) -> int:
        """Poll the batches that are due; returns how many were billed."""
        now = self._clock()
        if not await self._database.read(lambda connection: order_table.any_due(connection, now)):
            return 0
        until = now + AT_WORK
        orders = await self._database.write(lambda connection: order_table.claim(connection, now, until))
        return sum([await self._look(order, until) for order in orders])

    async def _look(self, order: Order, until: float) -> bool:
        try:
            records = await self._records(order)
        except (HeadraceError, msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = error.failure.kind if isinstance(error, HeadraceError) else Kind.BAD_RESPONSE
            log.warning("%s of deployment %s cannot be billed at present: %s", order.id, order.deployment, kind.value)
            records = [] if kind is Kind.NOT_FOUND else None  # its provider no longer keeps it
        now = self._clock()
        if records is None and now - order.began > GIVEN_UP:
            log.warning("gave up on %s of deployment %s: its cost is unknown", order.id, order.deployment)
            records = []
        if records is None:
            later = now + min(SELDOM, max(SOONEST, (now - order.began) / 8))
            await self._database.write(lambda connection: order_table.put_off(connection, order, until, later))
            return False
        found = records
        return await self._database.write(lambda connection: order_table.bill(connection, order, found))

    async def _records(self, order: Order) -> list[Record] | None:
        """What it cost; None while it is in progress, or if its deployment does not exist here."""
        deployment = self._router.get_deployment(order.deployment)
        if deployment is None:
            return None
        if order.kind == RESPONSE:
            return await self._of_response(order, deployment)
        if order.kind == INTERACTION:
            return await self._of_interaction(order, deployment)
        sums = await (self._of_messages(order, deployment) if order.kind == MESSAGES else self._of_file(order, deployment))
        return None if sums is None else [_record(order, deployment, model, one, self._clock()) for model, one in sums.items()]

    # ---- polling -----------------------------------------------------------------------------------------------------

    async def _of_response(self, order: Order, deployment: Deployment) -> list[Record] | None:
        place = {"id": marked_id(order.deployment, order.id)}
        made = await self._router.acall(
            GET_RESPONSE, "-", None, stream=False, options={"tenant": TENANT}, place=place, deployment=deployment.id
        )
        return None if made.get("status") in WORKING else self._made(order, deployment, made._hidden_params, "/v1/responses", RESPONSES)

    async def _of_interaction(self, order: Order, deployment: Deployment) -> list[Record] | None:
        answer = await self._asked(deployment, ThroughRequest("GET", f"/interactions/{order.id}"))
        made = msgspec.json.decode(b"".join([piece async for piece in answer]))
        if not isinstance(made, dict) or made.get("status") in WORKING:
            return None
        return self._made(order, deployment, answer._hidden_params, "/v1beta/interactions", PASSED)

    def _made(self, order: Order, deployment: Deployment, hidden: Any, path: str, operation: Operation) -> list[Record]:
        """The record of what was made in the background; empty if it failed before anything was made."""
        if hidden.usage is None:  # it failed before anything was made
            return []
        return [
            Record(
                **_whose(order), began=order.began, ended=self._clock(), path=path, operation=operation.name,
                model=deployment.group, outcome=Outcome.ANSWERED, metadata={"background": True}, **of_answer(hidden),
            )
        ]  # fmt: skip

    async def _of_file(self, order: Order, deployment: Deployment) -> Mapping[str, Sum] | None:
        """The sums of a batch whose input is a file, all lines of which call one model."""
        options = {"tenant": TENANT}
        batch = await self._router.acall(BATCH, "-", None, stream=False, options=options, place={"id": order.id}, deployment=deployment.id)
        if batch.status not in OVER:
            return None
        own = _own_name(deployment)
        if not batch.output_file_id:
            return {}
        try:
            file = await self._file(str(batch.output_file_id), deployment, options)
        except HeadraceError as error:
            usage = batch.get("usage")
            if not isinstance(usage, Mapping):
                raise
            log.info(
                "batch %s: its output file is not available (%s), so the usage that the batch reports counts",
                order.id,
                error.failure.kind.value,
            )
            prices = _prices(deployment)
            if prices is not None:  # a sum does not tell which prompts were long
                prices = Prices(Rates(prices.rates.steps[-1:]), prices.halved)
            done = (batch.get("request_counts") or {}).get("completed")
            return {own: Sum(done if isinstance(done, int) else 0).plus(bill_of(usage), prices)}
        with file:
            return await asyncio.to_thread(_summed, file, {own: deployment}, own)

    async def _file(self, id: str, deployment: Deployment, options: Mapping[str, Any]) -> SpooledTemporaryFile[bytes]:
        """A file of responses. Raises HeadraceError."""
        stream = reads_in_pieces(resolve(deployment.model).provider)
        answer: Any = await self._router.acall(
            FILE_CONTENT, "-", None, stream=stream, options=options, place={"id": id}, deployment=deployment.id
        )
        if stream:
            return await _put_by(answer)
        content = SpooledTemporaryFile[bytes](max_size=MOST_IN_MEMORY)
        content.write(answer.content)
        content.seek(0)
        return content

    async def _of_messages(self, order: Order, deployment: Deployment) -> Mapping[str, Sum] | None:
        batch = msgspec.json.decode(b"".join([piece async for piece in await self._asked_anthropic(order, deployment, "")]))
        if not isinstance(batch, dict) or batch.get("processing_status") != "ended":
            return None
        with await _put_by(await self._asked_anthropic(order, deployment, "/results")) as results:
            others = [one for id in self._router.get_model_ids() if (one := self._router.get_deployment(id)) is not None]
            served = {_own_name(one): one for one in others if self._router.same_account(one.id, deployment.id)}
            return await asyncio.to_thread(_summed, results, {**served, _own_name(deployment): deployment})

    async def _asked_anthropic(self, order: Order, deployment: Deployment, more: str) -> Any:
        from headrace.dialects.anthropic_messages.requests import VERSION  # late: few gateways use Anthropic's dialect

        version = (("anthropic-version", VERSION),)
        return await self._asked(deployment, ThroughRequest("GET", f"/v1/messages/batches/{order.id}{more}", version))

    async def _asked(self, deployment: Deployment, request: ThroughRequest) -> Any:
        options = {"request": request, "tenant": TENANT}
        return await self._router.araw(PASSED, _own_name(deployment), None, stream=True, options=options, deployment=deployment.id)


async def _put_by(pieces: Any) -> SpooledTemporaryFile[bytes]:
    """The content of a stream of bytes, spooled to disk if it is large."""
    content = SpooledTemporaryFile[bytes](max_size=MOST_IN_MEMORY)
    try:
        async with pieces:
            async for piece in pieces:
                content.write(piece)
    except BaseException:
        content.close()
        raise
    content.seek(0)
    return content


# ---- sums
# ------------------------------------------------------------------------------------------------------------------------


class Sum(Struct):
    """The calls of one model."""

    calls: int = 0
    used: dict[str, float] = msgspec.field(default_factory=dict)
    cost: int | None = None
    """Nano-dollars; None if no price is known."""

    def plus(self, bill: Bill, prices: Prices | None) -> Sum:
        """Add the usage and cost of one call."""
        for name, count in msgspec.to_builtins(bill).items():
            self.used[name] = self.used.get(name, 0) + count
        if prices is not None:
            self.cost = (self.cost or 0) + prices.of(bill)
        return self


class Prices(Struct, frozen=True):
    """The prices of a batch's calls."""

    rates: Rates
    halved: bool
    """Whether these are the prices of ordinary calls, of which batch calls cost half.

    Half is the price at OpenAI, Anthropic, Google, Mistral, Groq and Bedrock, by their pricing pages, from memory.
    """

    def of(self, bill: Bill) -> int:
        """Nano-dollars, rounded up."""
        cost = self.rates.of(bill)
        return -(-cost // 2) if self.halved else cost


def _summed(lines: Iterable[bytes], served: Mapping[str, Deployment], only: str = "") -> dict[str, Sum]:
    """The usage of a batch's responses, by model.

    Each response is priced by itself, as long prompts may have prices of their own. served: the deployments of the
    account, by the provider's names of their models. only: the model of all responses, which may call it by a longer
    name; "" if each response names its model.
    """
    sums: dict[str, Sum] = defaultdict(Sum)
    prices: dict[str, Prices | None] = {}
    for answer in _answers(lines):
        model = only or str(answer.get("model") or "")
        if model not in prices:
            prices[model] = _prices(served[max([name for name in served if model.startswith(name)], key=len, default=next(iter(served)))])
        sums[model].calls += 1
        sums[model].plus(bill_of(answer["usage"]), prices[model])
    return dict(sums)


def _answers(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The responses that state their usage: OpenAI's in `response.body`, Anthropic's in `result.message`."""
    for line in lines:
        try:
            said = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        for outer, inner in (("response", "body"), ("result", "message")):
            held = said.get(outer) if isinstance(said, dict) else None
            answer = held.get(inner) if isinstance(held, dict) else None
            if isinstance(answer, dict) and isinstance(answer.get("usage"), dict):
                yield answer


def _own_name(deployment: Deployment) -> str:
    return deployment.model.partition("/")[2] or deployment.model


def _prices(deployment: Deployment) -> Prices | None:
    """The prices in the configuration, else those in the catalog."""
    own = {name: value for part in (deployment.model_info, deployment.litellm_params) for name, value in part.items() if is_price(name)}
    facts = own or find(deployment.priced_as)
    rates = None if facts is None else rates_of(facts, "batch")
    return None if facts is None or rates is None else Prices(rates, not any(name.endswith("_batches") for name in facts))


def _whose(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in ("id", "key", "name", "team", "user", "tags", "customer")}


def _record(order: Order, deployment: Deployment, model: str, found: Sum, now: float) -> Record:
    return Record(
        **_whose(order), began=order.began, ended=now,
        path="/v1/messages/batches" if order.kind == MESSAGES else "/v1/batches", operation="batched", model=deployment.group,
        group=deployment.group, deployment=deployment.id, provider=resolve(deployment.model).provider.name, served=model,
        outcome=Outcome.ANSWERED, usage=found.used, cost=found.cost, attempts=1, metadata={"batch_calls": found.calls},
    )  # fmt: skip
