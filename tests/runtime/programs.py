"""Servers that are programs of their own: node, and nginx before another server. A test that needs one says so where it is missing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NODE = """
const server = require('node:http').createServer((request, response) => {
  response.setHeader('content-type', 'text/plain');
  if (request.url === '/stream') {
    request.resume();
    let number = 0;
    const step = () => number < 10 ? (response.write(`${number++}\\n`), setImmediate(step)) : response.end();
    return step();
  }
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => response.end(Buffer.concat(parts)));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

# Echoes gzipped where the client takes that; streams are handed on piece by piece.
NGINX = """
daemon off; pid {place}/nginx.pid; error_log {place}/error.log; master_process off;
events {{ worker_connections 256; }}
http {{
  access_log off; default_type text/plain; client_max_body_size 8m;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  gzip on; gzip_proxied any; gzip_types text/plain; gzip_min_length 20;
  upstream behind {{ server {behind}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
    location /nobody {{ proxy_pass http://127.0.0.1:9; }}
    location /small {{ client_max_body_size 1k; proxy_pass http://behind; }}
  }}
}}
"""


def program(name: str, debian: str) -> str:
    """Its path; skips the test where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (on Debian and Ubuntu: apt-get install {debian})")
    return found


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def node() -> Iterator[str]:
    """The address of an echoing node server."""
    with running([program("node", "nodejs"), "-e", NODE]) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


@contextmanager
def nginx(behind: str, place: Path) -> Iterator[str]:
    """The address of an nginx that hands everything on to `behind` (`host:port`)."""
    found, port = program("nginx", "nginx-light"), free_port()
    config = place / "nginx.conf"
    config.write_text(NGINX.format(place=place, behind=behind, port=port))
    with running([found, "-p", str(place), "-c", str(config)]) as process:
        until = time.monotonic() + 20
        while not listens(port):
            assert process.poll() is None, (place / "error.log").read_text()
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
