"""The fast path of plain requests: from the client's connection to the provider's and back, without ASGI, tasks or queues.

Whatever is unusual, fails or has to wait takes the slow path instead: uvicorn, the ASGI application and the Router's queue.
"""
