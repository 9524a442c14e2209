"""Fetches media that messages reference by URL, for providers that accept only inline data. Opt-in; private addresses are refused."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

import msgspec

from headrace.calls import CHAT, Call, encode
from headrace.errors import BadRequestError
from headrace.media import Address, addresses, replaced
from headrace.ports import Ports
from headrace.wire import HttpRequest, HttpResponse, Timeouts, TransportError

LARGEST: Final = 20 * 1024 * 1024
"""Maximum bytes of one fetched file."""
_MOST_PARTS: Final = 20
_MOST_HOPS: Final = 3
_PATIENCE: Final = Timeouts(connect=5.0, first_byte=10.0, between_bytes=10.0, total=30.0)


async def fetch_media(ports: Ports, call: Call) -> None:
    """Replace every URL in a chat's messages with its data, once for all attempts.

    Raises BadRequestError that names the part if its file is missing, too large, not an image, audio or document, or at
    an address that is not on the public internet.
    """
    if call.operation is not CHAT:
        return
    found = list(addresses(call.prompt))
    if len(found) > _MOST_PARTS:
        raise BadRequestError(f"messages refer to {len(found)} files on the web; at most {_MOST_PARTS} are fetched for one call")
    for address in found:
        answer = await _fetch(ports, address)
        call.prompt = replaced(call.prompt, address, answer.body, answer.headers.get("content-type", ""))
    if found:
        call.encoded = call.body["messages"] = msgspec.Raw(encode(call.prompt))


async def _fetch(ports: Ports, address: Address) -> HttpResponse:
    url = address.url
    for _ in range(_MOST_HOPS):
        try:
            answer = await ports.transport.fetch(HttpRequest("GET", url, public=True), _PATIENCE, max_body=LARGEST)
        except TransportError as error:
            raise _refused(address, str(error)) from error
        if answer.status == 200:
            return answer
        if answer.status not in (301, 302, 303, 307, 308) or "location" not in answer.headers:
            raise _refused(address, f"status {answer.status}")
        url = urljoin(url, answer.headers["location"])
    raise _refused(address, f"more than {_MOST_HOPS} redirects")


def _refused(address: Address, why: str) -> BadRequestError:
    return BadRequestError(f"{address.where}: the file it refers to cannot be fetched ({why})")
