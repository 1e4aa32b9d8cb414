/** The engine's public names: what the labs, the worker and Node import. */

export { PlainBackend } from "./backend_plain.js";
export { SimdBackend, decodeBase64, hasSimd } from "./backend_simd.js";
export { KVCache } from "./cache.js";
export { encodeChat } from "./chat.js";
export { readConfig } from "./config.js";
export * from "./errors.js";
export { openGguf } from "./gguf.js";
export { generate, prefill } from "./generate.js";
export { Llama } from "./model.js";
export { OPERATORS } from "./operators.js";
export { Random } from "./random.js";
export { bytesSource, fileSource, openSafetensors, writeSafetensors } from "./safetensors.js";
export { GREEDY, adjusted, probabilities, sample } from "./sampling.js";
export { parseObject } from "./strict_json.js";
export { Tokenizer } from "./tokenizer.js";
export { Trace } from "./trace.js";
export { loadWeights } from "./weights.js";
