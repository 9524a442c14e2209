"""litellm's HTTP clients for custom providers: the program's own httpx under litellm's names."""

from __future__ import annotations

from typing import Any

from headrace.compat.litellm.theirs import theirs


class HTTPHandler:
    """A blocking client. Like litellm's, it raises httpx's HTTPStatusError for an error status."""

    def __init__(self, timeout: Any = None, concurrent_limit: int = 1000, client: Any = None, ssl_verify: Any = None, **_: Any) -> None:
        self.client = client or theirs("httpx").Client(timeout=timeout or 600.0, verify=True if ssl_verify is None else ssl_verify)

    def get(self, url: str, params: Any = None, headers: Any = None, follow_redirects: bool | None = None, **_: Any) -> Any:
        return self.client.get(url, params=params, headers=headers, follow_redirects=bool(follow_redirects))

    def post(self, url: str, data: Any = None, json: Any = None, params: Any = None, headers: Any = None, stream: bool = False,
             timeout: Any = None, files: Any = None, content: Any = None, **_: Any) -> Any:  # fmt: skip
        return _checked(self.client.send(_request(self.client, url, data, json, params, headers, timeout, files, content), stream=stream))

    def close(self) -> None:
        self.client.close()


class AsyncHTTPHandler:
    """`HTTPHandler` for an event loop."""

    def __init__(self, timeout: Any = None, concurrent_limit: int = 1000, client: Any = None, ssl_verify: Any = None, **_: Any) -> None:
        self.client = client or theirs("httpx").AsyncClient(timeout=timeout or 600.0, verify=True if ssl_verify is None else ssl_verify)

    async def get(self, url: str, params: Any = None, headers: Any = None, follow_redirects: bool | None = None, **_: Any) -> Any:
        return await self.client.get(url, params=params, headers=headers, follow_redirects=bool(follow_redirects))

    async def post(self, url: str, data: Any = None, json: Any = None, params: Any = None, headers: Any = None, stream: bool = False,
                   timeout: Any = None, files: Any = None, content: Any = None, **_: Any) -> Any:  # fmt: skip
        request = _request(self.client, url, data, json, params, headers, timeout, files, content)
        return _checked(await self.client.send(request, stream=stream))

    async def close(self) -> None:
        await self.client.aclose()


def _request(client: Any, url: str, data: Any, json: Any, params: Any, headers: Any, timeout: Any, files: Any, content: Any) -> Any:
    if isinstance(data, str | bytes):  # httpx expects raw bodies as `content`
        data, content = None, data
    limits = {} if timeout is None else {"timeout": timeout}
    return client.build_request("POST", url, data=data, json=json, params=params, headers=headers, files=files, content=content, **limits)


def _checked(response: Any) -> Any:
    response.raise_for_status()
    return response
