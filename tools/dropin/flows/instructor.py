"""Structured output through tools; sync and async."""

import asyncio

import instructor
import litellm
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Who?"}], response_model=Person)
person, raw = instructor.from_litellm(litellm.completion).create_with_completion(**asked)
assert isinstance(person, Person) and raw.usage.total_tokens > 0
ok("structured output")
client = instructor.from_litellm(litellm.acompletion)
assert isinstance(asyncio.run(client.create(**asked)), Person)
ok("structured output, async")
people = instructor.from_litellm(litellm.completion).create_partial(**asked)
assert list(people)
ok("structured output, streamed")
