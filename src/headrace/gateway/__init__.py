"""One address for every OpenAI, Anthropic and Google client: `app.gateway` is an ASGI application over a Router.

`headrace serve` runs it. Nothing here is imported by `import headrace`.
"""
