"""A program with a mistake in each marked line: whoever checks types is told."""

from headrace import Router, completion

MESSAGES = [{"role": "user", "content": "Hello"}]

answer = completion("openai/gpt-4o-mini", MESSAGES, temperature="hot")  # wrong
print(completion("openai/gpt-4o-mini", MESSAGES).choices[0].delta)  # wrong
print(completion("openai/gpt-4o-mini", MESSAGES, stream=True).choices)  # wrong
Router([], num_retries="many")  # wrong
Router([], number_of_retries=2)  # wrong
Router([]).responses("Hello", "chat").text()  # wrong
