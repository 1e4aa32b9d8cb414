"""How fast the engine in the page is: in a browser, from a file, without network.

    python benchmarks/page_speed.py [--smollm2] [--rounds 5] [--peer FOLDER]

`story`: from the click on a lab's button to the first token, and tokens a second after it. SmolLM2,
from files as a reader picks them: loading, and tokens a second. One thread each, in a worker, as a
reader has it. Beside them the same engine in plain JavaScript, and NumPy with one thread.

FOLDER is where `npm install --ignore-scripts @huggingface/transformers@3.8.1` was run:
transformers.js then runs `story` beside ours, in turn, one thread, as the graph that
`story_onnx.py` writes. It needs a server, here on this machine: it loads modules and fetches,
which no page from a file may.
"""

import argparse
import functools
import http.server
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from playwright.sync_api import Page, sync_playwright

from llama_edu import Llama, Tokenizer, generate, hub
from llama_edu.page import write_page_files
from llama_edu.page.labs import SENTENCE

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAGE = """<!doctype html><meta charset="utf-8"><script src="llama.js"></script>
<button>go</button><input type="file" id="files" multiple>
<script>
  const timed = new Promise((done) => {
    document.querySelector("button").onclick = async () => {
      const start = performance.now();
      const model = await llamaEdu.pageModel();
      const { ids } = await model.encode(TEXT);
      let first = 0;
      const running = model.generate({ ids, count: 1 }, () => (first ||= performance.now()));
      await running.promise;
      globalThis.model = model;
      done(first - start);
    };
  });
</script>"""
SPEED = """async ([count, text]) => {
  const { ids } = await model.encode(text);
  const made = await model.ask("generate", { ids, count, stopIds: [] });
  return [made.ids, (made.ids.length - 1) / (made.decodeMs / 1000)];
}"""
PICK = """async (backend) => {
  const files = [...document.querySelector("#files").files];
  const texts = {};
  for (const file of files) if (file.name.endsWith(".json")) texts[file.name] = await file.text();
  const weights = files.find((file) => file.name.endsWith(".safetensors"));
  const start = performance.now();
  globalThis.model = await new llamaEdu.RemoteModel().load({ name: "", texts, weights, backend });
  return (performance.now() - start) / 1000;
}"""


def in_numpy(name: str, count: int) -> tuple[list[int], float]:
    model, tokenizer = Llama.from_pretrained(name, precision="f32"), Tokenizer.from_pretrained(name)
    ids = generate(model, tokenizer.encode(SENTENCE), max_new_tokens=count, stop_ids=())
    made = [next(ids)]
    start = time.perf_counter()
    made += ids
    return made, (count - 1) / (time.perf_counter() - start)


def row(label: str, values: list[float], unit: str) -> None:
    low, high = min(values), max(values)
    print(f"{label:44} {statistics.median(values):9.3g} {unit:9} [{low:.3g} to {high:.3g}]")


def story(page: Page, address: str, rounds: int) -> None:
    """Every click on a page loaded anew, so that nothing is warm but the file cache."""
    first, speed = [], []
    want, numpy_speed = in_numpy("story", 400)
    for _ in range(rounds):
        page.goto(address)
        page.click("button")
        first.append(page.evaluate("timed") / 1000)
        made, tokens = page.evaluate(SPEED, [400, SENTENCE])
        assert made == want, "the page and NumPy wrote different texts"
        speed.append(tokens)
    row("story, click to first token", first, "s")
    row("story, WebAssembly SIMD", speed, "tokens/s")
    page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.src = "llama-story.js";
          await new Promise((done) => { script.onload = done; document.head.append(script); });
          const files = { ...llamaEduModels.story, backend: "plain" };
          globalThis.model = await new llamaEdu.RemoteModel().load(files);
        }"""
    )
    plain = [page.evaluate(SPEED, [400, SENTENCE])[1] for _ in range(rounds)]
    row("story, plain JavaScript", plain, "tokens/s")
    row("story, NumPy, one thread", [numpy_speed], "tokens/s")


PEER = """<!doctype html><meta charset="utf-8"><script type="module">
import { AutoModelForCausalLM, AutoTokenizer, env } from "./transformers.min.js";
Object.assign(env, { allowLocalModels: true, allowRemoteModels: false });
env.localModelPath = "/models/";
env.useBrowserCache = false;
Object.assign(env.backends.onnx.wasm, { wasmPaths: "/", numThreads: 1 });
globalThis.load = async () => {
  globalThis.tokenizer = await AutoTokenizer.from_pretrained("story");
  const options = { dtype: "fp32", device: "wasm" };
  globalThis.peer = await AutoModelForCausalLM.from_pretrained("story", options);
};
globalThis.speed = async (text, count) => {
  const times = [];
  const streamer = { put: () => times.push(performance.now()), end() {} };
  const made = await peer.generate({
    ...tokenizer(text), max_new_tokens: count, do_sample: false, eos_token_id: [1e6], streamer,
  });
  // The prompt itself is put first, then every token.
  return [Array.from(made.data, Number), (count - 1) / ((times.at(-1) - times[1]) / 1000)];
};
globalThis.ready = true;
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def transformers_js(page: Page, ours: Page, address: str, peer: Path, rounds: int) -> None:
    """`story` in both engines, in turn."""
    from story_onnx import write_story

    want, _ = in_numpy("story", 100)
    with tempfile.TemporaryDirectory() as folder:
        site, modules = Path(folder), peer / "node_modules"
        write_story(site / "models")
        library = modules / "@huggingface" / "transformers" / "dist" / "transformers.min.js"
        runtime = (modules / "onnxruntime-web" / "dist").glob("ort-wasm-simd-threaded*.*")
        for file in (library, *runtime):
            shutil.copy(file, site)
        (site / "index.html").write_text(PEER, "utf-8")
        handler = functools.partial(Quiet, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
            page.wait_for_function("globalThis.ready")
            page.evaluate("load()")
            ours.goto(address)
            ours.click("button")
            ours.evaluate("timed")
            theirs, own = [], []
            for _ in range(rounds):
                made, tokens = page.evaluate("([text, n]) => speed(text, n)", [SENTENCE, 100])
                assert made[-100:] == want, "transformers.js and NumPy wrote different texts"
                theirs.append(tokens)
                own.append(ours.evaluate(SPEED, [100, SENTENCE])[1])
            server.shutdown()
    row("story, ours, in turn with it", own, "tokens/s")
    row("story, transformers.js", theirs, "tokens/s")


def smollm2(page: Page, address: str, rounds: int) -> None:
    name = "smollm2-135m-instruct"
    folder = hub.locate(name)
    want, numpy_speed = in_numpy(name, 48)
    page.goto(address)
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    page.locator("#files").set_input_files([folder / one for one in names])
    load = [page.evaluate(PICK, "simd")]
    speed = []
    for _ in range(rounds):
        made, tokens = page.evaluate(SPEED, [48, SENTENCE])
        assert made == want, "the page and NumPy wrote different texts"
        speed.append(tokens)
    row("SmolLM2, loading a picked file", load, "s")
    row("SmolLM2 bf16, WebAssembly SIMD", speed, "tokens/s")
    row("SmolLM2, NumPy f32, one thread", [numpy_speed], "tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smollm2", action="store_true", help="the real model too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="a folder with transformers.js")
    args = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise SystemExit(f"no browser found (looked for {', '.join(BROWSERS)})")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_page_files(folder)
        file = Path(folder) / "page.html"
        file.write_text(PAGE.replace("TEXT", repr(SENTENCE)), "utf-8")
        browser = playwright.chromium.launch(executable_path=browser_path)
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(120_000)
        story(page, file.as_uri(), args.rounds)
        if args.smollm2:
            smollm2(page, file.as_uri(), args.rounds)
        if args.peer:
            beside = browser.new_page()
            beside.set_default_timeout(120_000)
            transformers_js(beside, page, file.as_uri(), args.peer, args.rounds)
        browser.close()


if __name__ == "__main__":
    main()
