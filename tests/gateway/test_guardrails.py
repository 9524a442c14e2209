"""The section `guardrails`: how LiteLLM's settings are read, and errors about settings without effect here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.errors import ContentPolicyViolationError
from headrace.gateway.config import Mistakes, read_config
from headrace.gateway.guardrails import GuardrailService, read_guardrails
from headrace.layers import around
from headrace.layers.guardrails import Finding, Guardrail

MAIL, CARD = "anna@example.org", "4111 1111 1111 1111"
MODELS = "model_list:\n  - {model_name: gpt, litellm_params: {model: openai/gpt-4o, api_key: k}}\n"


class Projects(Guardrail):
    """A rule of the user's own."""

    def find(self, text: str) -> Iterable[Finding]:
        at = text.find("Anvil")
        return [Finding(at, at + 5, "PROJECT")] if at >= 0 else []


def rule(**params: Any) -> dict[str, Any]:
    return {"guardrail_name": "mine", "litellm_params": {"guardrail": "presidio", "default_on": True, **params}}


def rules(*entries: Any) -> tuple[Any, ...]:
    wrong: list[str] = []
    found = read_guardrails(list(entries), wrong.append)
    assert wrong == []
    return found


def asked(text: str, entries: list[Any], says: str = "fine", **options: Any) -> tuple[str, str]:
    """What the provider is told and what the caller, with these rules around a call."""
    told: list[str] = []

    async def call() -> str:
        guarding = GuardrailService(rules(*entries))
        await guarding.start()
        around.install(_listening(told))
        try:
            messages = [{"role": "user", "content": text}]
            answer = await headrace.acompletion("openai/m", messages, api_key="k", mock_response=says, **options)
            return str(answer.choices[0].message.content)
        finally:
            await guarding.stop()

    before = around._layers
    try:
        said = asyncio.run(call())
    finally:
        around._layers = before
    return told[0], said


def _listening(told: list[str]) -> Any:
    async def layer(ports: Any, call: Any, handler: Any, routed: bool) -> Any:
        told.append(call.prompt[0]["content"])
        return await handler(ports, call)

    return layer


def test_entities_are_masked_or_refused_as_they_say() -> None:
    entry = rule(pii_entities_config={"EMAIL_ADDRESS": "MASK", "CREDIT_CARD": "BLOCK"})
    assert asked(f"to {MAIL}", [entry])[0] == "to <EMAIL_ADDRESS>"
    with pytest.raises(ContentPolicyViolationError, match="'mine' refuses the input: CREDIT_CARD"):
        asked(f"pay with {CARD}, {MAIL}", [entry])
    assert asked("call +49 731 1234567", [entry])[0] == "call +49 731 1234567", "nobody asked for numbers"


@pytest.mark.parametrize(
    ("mode", "told", "said"),
    [
        ("pre_call", "<EMAIL_ADDRESS>", MAIL),
        ("during_call", "<EMAIL_ADDRESS>", MAIL),
        ("post_call", MAIL, "<EMAIL_ADDRESS>"),
        (["pre_call", "post_call"], "<EMAIL_ADDRESS>", "<EMAIL_ADDRESS>"),
        (None, "<EMAIL_ADDRESS>", "<EMAIL_ADDRESS>"),
    ],
)
def test_a_mode_says_where_is_looked(mode: Any, told: str, said: str) -> None:
    assert asked(MAIL, [rule(mode=mode)], MAIL) == (told, said)


def test_a_rule_that_is_not_on_for_all_is_asked_for_by_its_name() -> None:
    assert asked(MAIL, [rule(default_on=False)])[0] == MAIL
    assert asked(MAIL, [rule(default_on=False)], guardrails=["mine"])[0] == "<EMAIL_ADDRESS>"


def test_secrets_are_hidden() -> None:
    assert asked(f"key sk-ant-api03-{'Ab1' * 20}", [rule(guardrail="hide-secrets")])[0] == "key <ANTHROPIC_KEY>"


@pytest.mark.parametrize("named", [f"{__name__}.Projects", f"{__name__}:Projects"])
def test_a_rule_of_ones_own_is_found_by_its_place(named: str) -> None:
    assert asked("Project Anvil", [rule(guardrail=named)])[0] == "Project <PROJECT>"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (rule(guardrail="lakera_v2"), "guardrails[0].litellm_params.guardrail: 'lakera_v2' is not supported; known: presidio, pii"),
        (rule(guardrail="no.such.Rule"), "guardrails[0].litellm_params.guardrail: there is no 'no.such.Rule'"),
        (rule(guardrail="os.path"), "guardrails[0].litellm_params.guardrail: os.path must be a subclass of"),
        (rule(guardrail="pii", action="shout"), "guardrails[0].litellm_params: a guardrail's action must be 'mask' or 'block'"),
        (
            rule(presidio_language="de"),
            "guardrails[0].litellm_params.presidio_language is not supported; a guardrail takes guardrail, mode",
        ),
        (rule(mode="logging_only"), "guardrails[0].litellm_params: mode must be one of pre_call, during_call, post_call"),
        (rule(pii_entities_config={"PERSON": "MASK"}), "guardrails[0].litellm_params: kinds must be some of EMAIL_ADDRESS"),
        (rule(pii_entities_config={"US_SSN": "HIDE"}), "guardrails[0].litellm_params.pii_entities_config.US_SSN must be MASK or BLOCK"),
        ({"litellm_params": {}}, "guardrails[0].guardrail_name must be a string, got nothing"),
        ({"guardrail_name": "x"}, "guardrails[0].litellm_params must be an object, got nothing"),
        ("x", "guardrails[0]: an entry must be an object"),
    ],
)
def test_what_a_rule_has_not_is_named(entry: Any, said: str) -> None:
    wrong: list[str] = []
    assert read_guardrails([entry], wrong.append) == ()
    assert len(wrong) == 1
    assert wrong[0].startswith(said)


def test_names_are_each_rules_own() -> None:
    wrong: list[str] = []
    read_guardrails([rule(), rule()], wrong.append)
    assert wrong == ["guardrails[1].guardrail_name: another guardrail is already called 'mine'"]


def test_every_mistake_of_the_section_is_told_by_its_line(tmp_path: Path) -> None:
    text = MODELS + (
        "guardrails:\n"
        "  - guardrail_name: a\n    litellm_params:\n      mode: pre_call\n      guardrail: lakera\n"
        "  - guardrail_name: b\n    litellm_params:\n      guardrail: presidio\n      presidio_language: de\n"
    )
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Mistakes) as caught:
        read_config(tmp_path / "config.yaml", {})
    assert [problem.at.rpartition(":")[2] for problem in caught.value.problems] == ["7", "11"]


def test_a_section_that_is_no_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(MODELS + "guardrails: presidio\n")
    with pytest.raises(Mistakes, match="guardrails must be a list of rules"):
        read_config(tmp_path / "config.yaml", {})


def test_without_rules_nothing_stands_around_a_call() -> None:
    async def started() -> tuple[int, int, int]:
        guarding = GuardrailService()
        await guarding.start()
        none = len(around.standing())
        guarding.use(rules(rule()))
        one = len(around.standing())
        guarding.use(())
        again = len(around.standing())
        await guarding.stop()
        return none, one, again

    none, one, again = asyncio.run(started())
    assert (one, again) == (none + 1, none)
