"""A Router as a program writes it: what comes back of its endpoints has a type, and no cast is needed."""

from __future__ import annotations

import headrace
from headrace import Router

ENTRY = {"model_name": "gpt", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-", "rpm": 10}}


def made() -> Router:
    router = Router([ENTRY], fallbacks=[{"gpt": ["gpt-4"]}], model_group_alias={"chat": "gpt"}, num_retries=2)
    router.add_deployment(ENTRY)
    return router


def texts(router: Router) -> list[str | None]:
    said = router.completion("gpt", [{"role": "user", "content": "Hello"}], fallbacks=["other"])
    told = router.text_completion("gpt", "Once upon a time")
    return [said.choices[0].message.content, told.choices[0].text]


def streams(router: Router) -> str:
    found = ""
    for chunk in router.completion("gpt", [{"role": "user", "content": "Hello"}], stream=True):
        found += chunk.choices[0].delta.content or ""
    for piece in router.text_completion("gpt", "Once upon a time", stream=True):
        found += piece.choices[0].text or ""
    return found


async def media(router: Router) -> tuple[bytes, str | None]:
    spoken = await router.aspeech("tts", "Hello", voice="alloy")
    heard = await router.atranscription(b"...", "whisper")
    drawn = await router.aimage_generation("image", "a mill")
    changed = await router.aimage_edit(b"...", "a wheel", "image")
    assert len(drawn.data) + len(changed.data) == 2
    return spoken.content, heard.text


async def judged(router: Router) -> bool:
    ranked = await router.arerank("rank", "mills", ["a", "b"])
    checked = await router.amoderation("Hello", "guard")
    vectors = await router.aembedding("embed", ["a"])
    return bool(ranked.results) and bool(checked.results) and vectors.usage is not None


async def spoken(router: Router) -> str:
    answer = await router.aresponses("Hello", "gpt")
    message = await router.aanthropic_messages(model="claude", messages=[{"role": "user", "content": "Hello"}], max_tokens=5)
    return f"{answer.id} {message.id}"


async def kept(router: Router) -> list[str]:
    file = await router.acreate_file(b"{}", "batch", model="gpt")
    batch = await router.acreate_batch("24h", "/v1/chat/completions", file.id, model="gpt")
    again = await router.aretrieve_batch(batch.id)
    content = await router.afile_content(file.id)
    return [again.id, content.text]


async def looked(router: Router) -> str:
    router.flush_cache()
    router.update_settings(num_retries=3)
    deployment = router.get_deployment("one")
    healthy = await router.async_get_healthy_deployments("gpt", messages=[])
    left = router.peek("gpt", input_tokens=10)
    names: list[str] = router.get_model_names()
    key: str = "" if deployment is None else deployment.litellm_params["model"]
    return f"{key} {len(healthy)} {left.wait:.1f} {names}"


def refused(router: Router) -> float | None:
    try:
        router.completion("gpt", [{"role": "user", "content": "Hello"}], max_wait=0)
    except headrace.RateLimitError as error:
        return error.failure.retry_after
    return None
