"""Moesif's events of litellm's calls, sent to a local collector."""

import asyncio
import http.server
import threading

import litellm
from moesif_litellm import MoesifHandler

posted = threading.Event()


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        posted.set()
        self.send_response(201)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=collector.serve_forever, daemon=True).start()


async def main():
    here = f"http://127.0.0.1:{collector.server_port}"
    litellm.callbacks = [MoesifHandler(application_id="x", moesif_base_url=here, batch_size=1, flush_interval=1)]
    await litellm.acompletion(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
    assert await asyncio.to_thread(posted.wait, 20)
    ok("event of an async call")


asyncio.run(main())
