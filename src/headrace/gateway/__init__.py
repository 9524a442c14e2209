"""The HTTP gateway: one address for OpenAI, Anthropic and Google clients.

`app.gateway` is an ASGI application over a Router, and `headrace serve` runs it. `import headrace` imports nothing from
here.
"""
