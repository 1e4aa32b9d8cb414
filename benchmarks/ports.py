"""How fast the book's other engines decode: Rust, C++ and JavaScript beside NumPy and Numba.

    python benchmarks/ports.py story smollm2-135m-instruct --rounds 5

Rust and C++ are compiled as the book says (`-O`, `-O2`) and once more for this processor. Only
their `main` is exchanged, for a loop that takes the likeliest token and looks at a clock: an answer
of protocol 1 is JSON, and for `story` writing it takes longer than computing it. Every engine is
one thread, float32, a process of its own, in turn; a rate counts only if the tokens are NumPy's.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from llama_edu import Tokenizer
from llama_edu.hub import locate

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("engines.py")
PROMPT = "Once upon a time there was a"
BASE = "llama_edu/numpy/f32"
OURS = (BASE, "llama_edu/numba/f32")

# A program's arguments are a directory, the ids of the prompt, and how many tokens to choose.
RUST = """
fn main() {
    let words: Vec<String> = std::env::args().collect();
    let mut engine = Engine::load(Path::new(&words[1])).unwrap();
    let prompt: Vec<u32> = words[2].split(',').map(|id| id.parse().unwrap()).collect();
    let count: usize = words[3].parse().unwrap();
    for warm in [true, false] {
        let (mut ids, mut past, mut chosen) = (prompt.clone(), 0, Vec::new());
        let mut start = std::time::Instant::now();
        while chosen.len() < if warm { count / 4 + 1 } else { count } {
            let logits = engine.forward(&ids, past).unwrap();
            past += ids.len();
            let mut best = 0;
            for (id, x) in logits.iter().enumerate() {
                if *x > logits[best] { best = id; }
            }
            if chosen.is_empty() { start = std::time::Instant::now(); }
            chosen.push(best);
            ids = vec![best as u32];
        }
        if !warm {
            let rate = (count - 1) as f64 / start.elapsed().as_secs_f64();
            println!("{{\\"tokens_per_s\\":{rate},\\"ids\\":{chosen:?}}}");
        }
    }
}
"""
CPP = """
#include <chrono>
int main(int, char** words) {
    Engine engine(words[1]);
    Ids prompt;
    std::stringstream told(words[2]);
    for (string id; std::getline(told, id, ',');) prompt.push_back(std::stoul(id));
    const size_t count = std::stoul(words[3]);
    for (const bool warm : {true, false}) {
        Ids ids = prompt, chosen;
        size_t past = 0;
        auto start = std::chrono::steady_clock::now();
        while (chosen.size() < (warm ? count / 4 + 1 : count)) {
            const Floats logits = engine.forward(ids, past);
            past += ids.size();
            const size_t best = std::max_element(logits.begin(), logits.end()) - logits.begin();
            if (chosen.empty()) start = std::chrono::steady_clock::now();
            chosen.push_back(best);
            ids = {best};
        }
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (!warm)
            std::cout << "{\\"tokens_per_s\\":" << (count - 1) / took.count()
                      << ",\\"ids\\":" << listed(chosen) << "}" << std::endl;
    }
}
"""
JS = """
import {{ openModel }} from "{page}/node_files.mjs";
import {{ Llama, SimdBackend, readConfig }} from "{page}/src/engine.js";
const [, , directory, given, told] = process.argv;
const prompt = given.split(",").map(Number), count = Number(told);
const files = await openModel(directory);
const config = readConfig(files.config, files.generation);
const model = await Llama.load(config, files.checkpoint, new SimdBackend());
for (const warm of [true, false]) {{
  const cache = model.newCache(), chosen = [];
  let ids = prompt, start = 0;
  while (chosen.length < (warm ? (count >> 2) + 1 : count)) {{
    const logits = model.forward(ids, cache, {{ lastOnly: true }});
    let best = 0;
    for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
    if (!chosen.length) start = performance.now();
    chosen.push(best);
    ids = [best];
  }}
  const rate = ((count - 1) / (performance.now() - start)) * 1000;
  if (!warm) console.log(JSON.stringify({{ tokens_per_s: rate, ids: chosen }}));
}}
"""


def with_main(path: Path, main: str, loop: str) -> str:
    """The source of an engine with another `main`. Raises `ValueError` where it has not one."""
    source = path.read_text(encoding="utf-8")
    if source.count(main) != 1:
        raise ValueError(f"{path}: expected {main!r} once, got {source.count(main)}")
    return source.replace(main, main.replace("main", "protocol")) + loop


def built(folder: Path) -> dict[str, list[str]]:
    """Engine → the command that runs it, for every compiler that is there."""
    rust, cpp, js = folder / "port.rs", folder / "port.cpp", folder / "port.mjs"
    rust.write_text(with_main(ROOT / "engines/rust/llama.rs", "fn main()", RUST), "utf-8")
    source = with_main(ROOT / "engines/cpp/llama.cpp", "int main(", CPP)
    cpp.write_text("#include <algorithm>\n#include <sstream>\n" + source, "utf-8")
    page = ROOT / "llama_edu/page"
    js.write_text(JS.format(page=page.as_uri()), "utf-8")
    compilers = {
        "Rust -O": ["rustc", "--edition=2021", "-O", "-Awarnings", str(rust)],
        "Rust, this processor": [
            *("rustc", "--edition=2021", "-Copt-level=3", "-Ctarget-cpu=native", "-Awarnings"),
            str(rust),
        ],
        "C++ -O2": ["g++", "-std=c++17", "-O2", "-w", str(cpp)],
        "C++, this processor": ["g++", "-std=c++17", "-O3", "-march=native", "-w", str(cpp)],
    }
    commands = {}
    for i, (name, compiler) in enumerate(compilers.items()):
        if shutil.which(compiler[0]):
            out = folder / f"port{i}"
            subprocess.run([*compiler, "-o", str(out)], check=True)
            commands[name] = [str(out)]
    if shutil.which("node"):
        commands["JavaScript, WebAssembly"] = ["node", str(js)]
    return commands


def run(engine: str, commands: dict[str, list[str]], model: Path, ids: list[int], n: int) -> Any:
    """What one engine measures in a process of its own, on one thread."""
    if engine in commands:
        command = [*commands[engine], str(model), ",".join(map(str, ids)), str(n)]
    else:
        command = [sys.executable, str(WORKER), engine, str(model), "--prompt", json.dumps(ids)]
        command += ["--new-tokens", str(n), "--threads", "1"]
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    # Compiled modules are kept, as they are for anyone who starts a program twice.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= dict.fromkeys(threads, "1")
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(engine: str, runs: list[Any], base: list[Any]) -> str:
    """A row of the table: the median rate, its range, and the ratio to NumPy where it counts."""
    rates = [one["tokens_per_s"] for one in runs]
    told = f"{engine:26}{statistics.median(rates):9.1f}/s [{min(rates):.1f}–{max(rates):.1f}]"
    same = [a["ids"] == b["ids"] for a, b in zip(runs, base, strict=True)]
    if not all(same):
        return f"{told:54} no ratio: other tokens than NumPy's"
    ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(runs, base, strict=True)]
    return f"{told:54}{statistics.median(ratios):6.2f} × NumPy"


def main() -> None:
    """Measure each engine with each model, in turn, so many times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, list[Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = built(Path(folder))
        for name in args.models:
            model = Path(locate(name))
            ids = Tokenizer.from_pretrained(model).encode(PROMPT)
            runs: dict[str, list[Any]] = {engine: [] for engine in (*OURS, *commands)}
            for _ in range(args.rounds):
                for engine, some in runs.items():
                    some.append(run(engine, commands, model, ids, args.new_tokens))
            print(f"{name}: decode, float32, one thread, {args.rounds} rounds")
            for engine, some in runs.items():
                print(line(engine, some, runs[BASE]))
            found[name] = runs
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
