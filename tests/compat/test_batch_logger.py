"""`CustomBatchLogger`, which integrations that send what they hear in batches are written with."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from headrace.compat.litellm.listening import CustomBatchLogger


class Sender(CustomBatchLogger):
    """Sends what it gathered; fails as often as it is told to; something comes while it sends."""

    def __init__(self, fails: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.sent: list[list[Any]] = []
        self.fails = fails
        self.went = asyncio.Event()

    async def async_send_batch(self) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("no way there")
        self.sent.append(list(self.log_queue))
        self.went.set()
        self.log_queue.append("late")


def test_what_came_while_a_batch_was_sent_was_lost() -> None:
    async def main() -> Sender:
        sender = Sender(flush_lock=asyncio.Lock())
        await sender.flush_queue()
        sender.log_queue += [1, 2]
        await sender.flush_queue()
        await sender.flush_queue()
        return sender

    sender = asyncio.run(main())
    assert sender.sent == [[1, 2], ["late"]]
    assert sender.log_queue == ["late"]


def test_batches_are_sent_by_the_clock_and_one_that_failed_is_sent_again() -> None:
    async def main() -> Sender:
        sender = Sender(fails=1)
        sender.flush_interval = 0  # seconds; litellm's shortest is one
        sender.log_queue += [1]
        task = asyncio.create_task(sender.periodic_flush())
        await sender.went.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return sender

    assert asyncio.run(main()).sent[0] == [1]
