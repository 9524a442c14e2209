"""A scripted model in OpenAI's dialect: it calls the tools that the prompt names, then says it is done.

The rest of the line after `headrace-run:` in the prompt is a command for the client's shell tool. Each line after
`headrace-call:` is a tool's name and its arguments as JSON, one call a turn. Every request is recorded, to debug clients.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

DONE: Final = "All done, the file is written."

SHELLS: Final[Mapping[str, Any]] = {
    "Bash": lambda command: {"command": command, "description": "as asked"},
    "run_shell_command": lambda command: {"command": command, "description": "as asked"},
    "shell": lambda command: {"command": ["bash", "-lc", command]},
    "shell_command": lambda command: {"command": command},
    "exec_command": lambda command: {"cmd": command},
    "bash": lambda command: {"command": command, "description": "as asked"},
    "run": lambda command: {"command": command},
    "run_commands": lambda command: {"commands": [command]},
}
"""Clients' names for their shell tool, and its arguments."""


def answer(body: Mapping[str, Any]) -> dict[str, Any]:
    """The scripted message for a request."""
    messages = body["messages"]
    functions = [tool["function"] for tool in body.get("tools", ())]
    if functions and (planned := [call for message in messages for call in _calls(message)]):
        done = sum(message["role"] == "tool" for message in messages)
        return _calling(*planned[done]) if done < len(planned) else {"role": "assistant", "content": DONE}
    command = next(filter(None, (_command(message) for message in reversed(messages))), None)
    ran = any(message["role"] == "tool" for message in messages)
    shell = next((function for function in functions if function["name"] in SHELLS), None)
    if command is None or ran or shell is None:
        return {"role": "assistant", "content": DONE}
    return _calling(shell["name"], json.dumps(SHELLS[shell["name"]](command)))


def _calling(name: str, arguments: str) -> dict[str, Any]:
    call = {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _command(message: Mapping[str, Any]) -> str | None:
    found = re.search(r"headrace-run:(.+)", _prompt(message))
    return found and found.group(1).strip(' "')  # opencode quotes the prompt


def _calls(message: Mapping[str, Any]) -> list[Any]:
    return re.findall(r"headrace-call:(\w+) (.+)", _prompt(message))


def _prompt(message: Mapping[str, Any]) -> str:
    """The text of a user message."""
    content = message.get("content") if message["role"] == "user" else None
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content or ())


def pieces(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The message as deltas: text word by word, arguments in pieces of a few characters."""
    yield {"role": "assistant", "content": "" if message["content"] is not None else None}
    for word in re.findall(r"\S+\s*", message["content"] or ""):
        yield {"content": word}
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield {"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for at in range(0, len(function["arguments"]), 7):
            yield {"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][at : at + 7]}}]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(body)
        message = answer(body)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        head = {"id": f"chatcmpl-{len(self.seen)}", "created": 1_700_000_000, "model": body["model"]}
        if not body.get("stream"):
            whole = {**head, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
            self._send("application/json", json.dumps({**whole, "usage": usage}).encode())
            return
        chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in pieces(message)]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": usage})
        events = [b"data: " + json.dumps({**head, "object": "chat.completion.chunk", **chunk}).encode() + b"\n\n" for chunk in chunks]
        self._send("text/event-stream", b"".join(events) + b"data: [DONE]\n\n")

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run the model; yields its URL and the requests it received."""
    seen: list[dict[str, Any]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
