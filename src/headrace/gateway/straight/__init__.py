"""The straight way of requests that nothing disturbs: from a caller's connection to a provider's and back, past ASGI, tasks and queues."""
