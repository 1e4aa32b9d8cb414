// OpenAI's client for Node: chats, streams, texts, structured replies, tools, errors.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Hello!" }];

const reply = await client.chat.completions.create({ model, messages, max_completion_tokens: 20 });
assert(reply.choices[0].message.content);
console.log("ok: chat");

let text = "";
const stream = await client.chat.completions.create({ model, messages, stream: true, max_tokens: 20 });
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert(text);
console.log("ok: streams");

const runner = client.chat.completions.stream({ model, messages, max_tokens: 20 });
assert((await runner.finalChatCompletion()).choices[0].message.content);

const written = await client.completions.create({ model: "story", prompt: "Once", max_tokens: 9 });
assert(written.choices[0].text);
console.log("ok: completions");

const schema = {
  type: "object",
  properties: { name: { type: "string" }, legs: { type: "integer" } },
  required: ["name", "legs"],
  additionalProperties: false,
};
const pet = await client.chat.completions.parse({
  model,
  messages,
  max_tokens: 300,
  response_format: { type: "json_schema", json_schema: { name: "pet", schema, strict: true } },
});
assert(Number.isInteger(JSON.parse(pet.choices[0].message.content).legs));
console.log("ok: structured output");

const called = await client.chat.completions.create({
  model,
  messages,
  max_tokens: 300,
  tools: [{ type: "function", function: { name: "pet", parameters: schema } }],
  tool_choice: { type: "function", function: { name: "pet" } },
});
assert.equal(called.choices[0].message.tool_calls[0].function.name, "pet");
console.log("ok: tools");

await assert.rejects(
  client.chat.completions.create({ model: "none", messages }),
  (problem) => problem instanceof OpenAI.NotFoundError && problem.message.includes("expected"),
);
console.log("ok: errors");
