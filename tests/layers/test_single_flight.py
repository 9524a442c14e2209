"""Callers who ask the same at the same time, in virtual time: who flies, who waits, who leaves."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.calls import CHAT, Call, prepare
from headrace.layers.single_flight import SingleFlight
from headrace.models.prices import Beside
from headrace.objects import ModelResponse
from headrace.ports import Ports
from headrace.runtime.virtual import Task, World


class Scene:
    """A provider that takes ten seconds, and callers."""

    def __init__(self, error: Exception | None = None) -> None:
        self.world = World()
        self.layer = SingleFlight()
        self.error = error
        self.begun = 0
        self.given_up = 0
        self.ports = self.world.ports(None)  # type: ignore[arg-type]

    async def provider(self, ports: Ports, call: Call) -> Any:
        self.begun += 1
        try:
            await ports.clock.sleep(10)
        except BaseException:
            self.given_up += 1
            raise
        if self.error is not None:
            raise self.error
        answer = ModelResponse(choices=[{"index": 0, "message": {"content": f"answer {self.begun}"}}])
        answer._hidden_params = Beside({"model": "m", "custom_llm_provider": "openai"})
        return answer

    def call(self, content: str = "hi", **options: Any) -> Task[Any]:
        call = prepare(CHAT, "gpt", [{"role": "user", "content": content}], bool(options.pop("stream", False)), options)
        return self.world.spawn(self.layer.answer(self.provider, lambda call: call.model, self.ports, call))


def text(task: Task[Any]) -> str:
    said: str = task.result.choices[0].message.content
    return said


def test_one_call_answers_all_and_each_has_an_answer_of_his_own() -> None:
    scene = Scene()
    tasks = [scene.call() for _ in range(3)]
    scene.world.at(5, lambda: tasks.append(scene.call()))
    scene.world.run()
    assert scene.begun == 1
    assert [text(task) for task in tasks] == ["answer 1"] * 4
    assert len({id(task.result) for task in tasks}) == 4
    assert [task.result._hidden_params.get("single_flight") for task in tasks] == [None, True, True, True]
    assert [task.result._hidden_params.get("response_cost") for task in tasks[1:]] == [0.0] * 3


def test_a_call_after_the_answer_is_another_call() -> None:
    scene = Scene()
    scene.call()
    scene.world.run()
    scene.call()
    scene.world.run()
    assert scene.begun == 2


@pytest.mark.parametrize("leaver", [0, 1])
def test_who_leaves_takes_nobody_along(leaver: int) -> None:
    scene = Scene()
    tasks = [scene.call() for _ in range(3)]
    scene.world.at(5, lambda: tasks[leaver].cancel())
    scene.world.run()
    assert scene.begun == 1
    assert scene.world.now() == 10
    assert [task.cancelled for task in tasks] == [number == leaver for number in range(3)]
    assert {text(task) for task in tasks if not task.cancelled} == {"answer 1"}


def test_when_all_have_left_the_call_is_given_up_at_once() -> None:
    scene = Scene()
    tasks = [scene.call() for _ in range(3)]
    scene.world.at(5, lambda: [task.cancel() for task in tasks])
    scene.world.run()
    assert (scene.begun, scene.given_up, scene.world.now()) == (1, 1, 5)
    assert repr(scene.layer) == "<SingleFlight 0 under way>"


def test_an_error_is_everybody_s_and_each_raises_one_of_his_own() -> None:
    scene = Scene(errors.RateLimitError("slow down", "openai", "m"))
    tasks = [scene.call() for _ in range(3)]
    raised = []
    for task in tasks:
        with pytest.raises(errors.RateLimitError, match="slow down"):
            scene.world.complete(_joined(task))
        raised.append(task.exception())
    assert scene.begun == 1
    assert len({id(error) for error in raised}) == 3


async def _joined(task: Task[Any]) -> Any:
    return await task


@pytest.mark.parametrize(
    "other", [{"content": "ho"}, {"seed": 1}, {"stream": True}, {"timeout": 3}, {"tenant": "b"}, {"api_key": "b"}, {"timeout": object()}]
)
def test_what_is_not_the_same_flies_alone(other: dict[str, Any]) -> None:
    scene = Scene()
    scene.call()
    scene.call(**other)
    scene.world.run()
    assert scene.begun == 2


@pytest.mark.parametrize("cls", [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.HeadraceError)])
def test_every_error_can_be_raised_again(cls: type[errors.HeadraceError]) -> None:
    error = cls.of(errors.Failure(cls.kind, "no", 418, provider="p", model="m"))
    again = errors.again(error)
    assert type(again) is cls
    assert again is not error
    assert str(again) == str(error)
    assert again.failure == error.failure
