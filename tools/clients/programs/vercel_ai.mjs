// Vercel's ai: texts, streams, objects, tools.
import assert from "node:assert";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "here",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: "none",
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const model = provider(process.env.MODEL);
const limits = { model, maxOutputTokens: 300, maxRetries: 0 };

assert((await generateText({ ...limits, prompt: "Hello!" })).text);
console.log("ok: chat");

let text = "";
const streamed = streamText({ ...limits, prompt: "Hello!" });
for await (const part of streamed.textStream) text += part;
assert(text);
assert((await streamed.usage).totalTokens > 0);
console.log("ok: streams");

const pet = z.object({ name: z.string(), legs: z.number().int() });
const parsed = await generateText({ ...limits, output: Output.object({ schema: pet }), prompt: "Tom" });
pet.parse(parsed.output);
console.log("ok: structured output");

const called = await generateText({
  ...limits,
  prompt: "Tom",
  tools: { weather: tool({ description: "The weather", inputSchema: z.object({ city: z.string() }) }) },
  toolChoice: { type: "tool", toolName: "weather" },
});
assert.equal(called.toolCalls[0].toolName, "weather");
console.log("ok: tools");

const story = await generateText({ ...limits, model: provider.completionModel("story"), prompt: "Once", maxOutputTokens: 9 });
assert(story.text);
console.log("ok: completions");
