// Build llama_edu/page/llama.js, the one script the book's pages run, from llama_edu/page/src.
//
//   npm ci && npm run build        write it
//   node tools/pages/bundle.mjs -   print it instead (the test compares it with the committed one)
//
// The SIMD kernels are assembled from kernels.wat first. Both results are committed: reading or
// building the book needs no Node.

import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";
import makeWabt from "wabt";

const page = new URL("../../llama_edu/page/", import.meta.url);

async function assembledKernels() {
  const source = await readFile(new URL("src/kernels.wat", page), "utf-8");
  const wabt = await makeWabt();
  const module = wabt.parseWat("kernels.wat", source, { simd: true });
  const { buffer } = module.toBinary({ log: false, write_debug_names: false });
  const base64 = Buffer.from(buffer).toString("base64");
  const lines = base64.match(/.{1,90}/g).map((line) => `  "${line}"`);
  return (
    "// Made by tools/pages/bundle.mjs from kernels.wat: the module's bytes in base64.\n\n" +
    `export const KERNELS =\n${lines.join(" +\n")};\n`
  );
}

async function bundle(kernels) {
  const result = await build({
    entryPoints: [new URL("src/main.js", page).pathname],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "exported",
    target: "es2022",
    charset: "utf8",
    loader: { ".css": "text" },
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    // The whole script is one function, so that a page served from a file, which may not load a
    // worker from a file, can start one from the function's own text.
    banner: {
      js:
        "/* The model in the page. Made by tools/pages/bundle.mjs from llama_edu/page/src. */\n" +
        "function llamaEduBundle(){",
    },
    footer: { js: "return exported}\nvar llamaEdu=llamaEduBundle();" },
    plugins: [
      {
        name: "assembled kernels",
        setup(build) {
          const file = { path: "kernels_wasm.js", namespace: "assembled" };
          build.onResolve({ filter: /kernels_wasm\.js$/ }, () => file);
          build.onLoad({ namespace: "assembled", filter: /.*/ }, () => ({ contents: kernels }));
        },
      },
    ],
  });
  return result.outputFiles[0].text;
}

const kernels = await assembledKernels();
const script = await bundle(kernels);
if (process.argv[2] === "-") {
  process.stdout.write(JSON.stringify({ "llama.js": script, "src/kernels_wasm.js": kernels }));
} else {
  await writeFile(new URL("src/kernels_wasm.js", page), kernels);
  await writeFile(new URL("llama.js", page), script);
  console.log(`llama_edu/page/llama.js: ${script.length} characters`);
}
