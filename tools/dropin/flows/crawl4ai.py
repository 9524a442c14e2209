"""crawl4ai's extraction with a model."""

from crawl4ai.utils import perform_completion_with_backoff

answer = perform_completion_with_backoff("openai/gpt-sim", "Hello", api_token="sim", base_url=BASE, json_response=False)
assert answer.choices[0].message.content and answer.usage.total_tokens
ok("call")
import asyncio

from crawl4ai.utils import aperform_completion_with_backoff

answer = asyncio.run(aperform_completion_with_backoff("openai/gpt-sim", "Hello", api_token="sim", base_url=BASE))
assert answer.choices[0].message.content
ok("async")
