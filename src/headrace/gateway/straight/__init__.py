"""The fast path of plain requests: from the client's connection to the provider's and back, without ASGI, tasks or queues."""
