// An agent with a tool and a stream by LangChain, in each dialect it speaks: `node langchain.mjs ADDRESS KEY COMMAND`.
import { BedrockRuntimeClient } from "@aws-sdk/client-bedrock-runtime";
import { ChatAnthropic } from "@langchain/anthropic";
import { ChatBedrockConverse } from "@langchain/aws";
import { ChatGoogleGenerativeAI } from "@langchain/google-genai";
import { ChatOllama } from "@langchain/ollama";
import { ChatOpenAI } from "@langchain/openai";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { createAgent, tool } from "langchain";
import { execFileSync } from "node:child_process";

const [address, apiKey, prompt] = process.argv.slice(2);
const openai = { model: "gpt-5", apiKey, configuration: { baseURL: `${address}/v1` }, maxRetries: 0 };
const region = "us-east-1";
const credentials = { accessKeyId: apiKey, secretAccessKey: "any" };
// AWS's client would speak HTTP/2 to what is no AWS.
const client = new BedrockRuntimeClient({ region, credentials, endpoint: address, requestHandler: new NodeHttpHandler(), maxAttempts: 1 });
const models = {
  "chat completions": new ChatOpenAI({ ...openai, useResponsesApi: false }),
  responses: new ChatOpenAI({ ...openai, useResponsesApi: true }),
  messages: new ChatAnthropic({ model: "claude-sonnet-4-5", apiKey, anthropicApiUrl: address, maxRetries: 0 }),
  generateContent: new ChatGoogleGenerativeAI({ model: "gemini-2.5-pro", apiKey, baseUrl: address, maxRetries: 0 }),
  ollama: new ChatOllama({ model: "gpt-5", baseUrl: address, headers: new Headers({ authorization: `Bearer ${apiKey}` }), maxRetries: 0 }),
  converse: new ChatBedrockConverse({ model: "claude-sonnet-4-5", region, credentials, client }),
};

for (const [name, model] of Object.entries(models)) {
  let ran = 0;
  const execute = ({ command }) => { ran += 1; return execFileSync("sh", ["-c", command], { encoding: "utf8" }) || "nothing was printed"; };
  const schema = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };
  const run = tool(execute, { name: "run", description: "Runs a command in a shell.", schema });
  const { messages } = await createAgent({ model, tools: [run] }).invoke({ messages: [{ role: "user", content: prompt }] });
  let streamed = "";
  for await (const piece of await model.stream("Are you done?")) streamed += piece.text;
  if (ran !== 1 || !streamed || messages.at(-1).text !== streamed) throw new Error(`${name}: ran ${ran} times, said ${messages.at(-1).text} and ${streamed}`);
  console.log(`ok ${name}`);
}
