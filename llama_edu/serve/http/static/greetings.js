// What an empty conversation says, and what it offers to ask. For a model that comes with the
// package these are its own words: its answer to "What can you do?", as a test makes sure.

const GREETINGS = {
  chat: {
    words: "I can chat, add small numbers, tell a short story and remember what you tell me.",
    questions: ["What can you do?", "Tell me a short story about a fox.", "What is 3 + 4?", "My favourite colour is green."],
  },
};

const ANY = {
  words: "I am a language model. Ask me something, or begin with one of these.",
  questions: ["What can you do?", "Tell me a short story.", "Why is the sky blue?"],
};

export const greeting = (model) => GREETINGS[model] ?? ANY;
