// A tool loop and a stream by the Vercel AI SDK, in each dialect it speaks: `node vercel.mjs ADDRESS KEY COMMAND`.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { execFileSync } from "node:child_process";

const [address, apiKey, prompt] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey });
const models = {
  "chat completions": createOpenAICompatible({ name: "headrace", baseURL: `${address}/v1`, apiKey })("gpt-5"),
  responses: openai("gpt-5"),
  messages: createAnthropic({ baseURL: `${address}/v1`, apiKey })("claude-sonnet-4-5"),
  generateContent: createGoogleGenerativeAI({ baseURL: `${address}/v1beta`, apiKey })("gemini-2.5-pro"),
};

for (const [name, model] of Object.entries(models)) {
  let ran = 0;
  const run = tool({
    description: "Runs a command in a shell.",
    inputSchema: jsonSchema({ type: "object", properties: { command: { type: "string" } }, required: ["command"] }),
    execute: async ({ command }) => { ran += 1; return execFileSync("sh", ["-c", command], { encoding: "utf8" }) || "nothing was printed"; },
  });
  const asked = { model, prompt, tools: { run }, stopWhen: stepCountIs(4), maxRetries: 0 };
  const whole = await generateText(asked);
  const streamed = streamText(asked);
  let text = "";
  for await (const piece of streamed.textStream) text += piece;
  if (ran !== 2 || !whole.text || text !== whole.text) throw new Error(`${name}: ran ${ran} times, said ${whole.text} and ${text}`);
  console.log(`ok ${name}`);
}
