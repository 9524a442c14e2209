// An MCP server on stdin and stdout with one tool, which writes a file.
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

const inputSchema = { type: "object", properties: { path: { type: "string" }, text: { type: "string" } }, required: ["path", "text"] };
const answers = {
  initialize: ({ protocolVersion }) => ({ protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "files", version: "1" } }),
  "tools/list": () => ({ tools: [{ name: "write", description: "Writes a file.", inputSchema }] }),
  "tools/call": ({ arguments: { path, text } }) => {
    writeFileSync(path, text);
    return { content: [{ type: "text", text: "written" }] };
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id !== undefined) console.log(JSON.stringify({ jsonrpc: "2.0", id, result: answers[method]?.(params) ?? {} }));
});
