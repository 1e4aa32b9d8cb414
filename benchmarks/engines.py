"""One engine, one fresh process: load a model, answer a prompt, print what it cost as JSON.

    python benchmarks/engines.py llama_edu/numba/bf16 DIRECTORY --prompt '[1, 2, 3]'

Started by `table.py` and `compare.py`. An engine is `llama_edu/<backend>/<precision>`,
`transformers/<dtype>` or `llama.cpp/<type>`. Whatever a user would wait for counts as loading,
imports included, so nothing heavy is imported before the clock starts.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "torch", "transformers", "xllamacpp")
Generate = Callable[[list[int], int], Iterator[int]]


def load_llama_edu(directory: Path, backend: str, precision: str) -> Generate:
    from llama_edu import Llama, generate

    model = Llama.from_pretrained(directory, precision, backend)
    return lambda ids, n: generate(model, ids, max_new_tokens=n, stop_ids=())


def load_transformers(directory: Path, dtype: str) -> Generate:
    """A bare loop over `transformers`: its own `generate` is slower, and a peer is at its best."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=kind).eval()

    def generate(ids: list[int], n: int) -> Iterator[int]:
        cache = DynamicCache(config=model.config)
        fed = torch.tensor([ids])
        for _ in range(n):
            with torch.inference_mode():
                logits = model(fed, past_key_values=cache, logits_to_keep=1).logits
            fed = logits[:, -1].argmax(-1, keepdim=True)
            yield int(fed)

    return generate


def measure(generate: Generate, ids: list[int], new_tokens: int) -> dict[str, Any]:
    """Once to warm up, once for the figures: the first token is prefill, the others decode.

    Two tokens warm up: what decodes is another kernel than what reads the prompt, and it is loaded,
    or compiled, at its first use.
    """
    start = time.perf_counter()
    warming = generate(ids, 2)
    next(warming)
    first = time.perf_counter()
    list(warming)
    chosen, stamps = [], []
    again = time.perf_counter()
    for token_id in generate(ids, new_tokens):
        chosen.append(token_id)
        stamps.append(time.perf_counter())
    result: dict[str, Any] = {
        "first_s": first - start,
        "prefill_s": stamps[0] - again,
        "ids": chosen,
    }
    if new_tokens > 1:
        result["tokens_per_s"] = (new_tokens - 1) / (stamps[-1] - stamps[0])
    return result


def measure_llama_cpp(path: Path, ids: list[int], new_tokens: int, threads: int) -> dict[str, Any]:
    """Through the server of the `xllamacpp` wheel, with its own clock: no HTTP, no tokenizer."""
    import xllamacpp

    start = time.perf_counter()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel = len(ids) + new_tokens + 64, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)
    request = {
        "prompt": ids,
        "n_predict": new_tokens,
        "temperature": 0,
        "top_k": 1,
        "samplers": ["top_k"],
        "cache_prompt": False,
        "ignore_eos": True,
    }
    loaded = time.perf_counter()
    server.handle_completions(request | {"n_predict": 1})
    first = time.perf_counter()
    answer = server.handle_completions(request)
    answer = json.loads(answer) if isinstance(answer, str | bytes) else answer
    return {
        "load_s": loaded - start,
        "first_s": first - loaded,
        "prefill_s": answer["timings"]["prompt_ms"] / 1e3,
        "tokens_per_s": answer["timings"]["predicted_per_second"],
        "text": answer["choices"][0]["text"],
    }


def peak_bytes() -> int:
    """The most memory this program has held, in bytes.

    Linux counts `ru_maxrss` from before the program was started, so that a small one looks as
    large as the one that started it; `VmHWM` begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Measure the engine that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("model", type=Path, help="a directory; for llama.cpp a GGUF file")
    parser.add_argument("--prompt", type=json.loads, required=True, help="token ids, a JSON list")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    name, *kind = args.engine.split("/")
    if name == "llama.cpp":
        result = measure_llama_cpp(args.model, args.prompt, args.new_tokens, args.threads)
    else:
        load = {"llama_edu": load_llama_edu, "transformers": load_transformers}[name]
        start = time.perf_counter()
        generate = load(args.model, *kind)  # type: ignore[operator]
        loaded = time.perf_counter() - start
        result = {"load_s": loaded} | measure(generate, args.prompt, args.new_tokens)
    result["peak_bytes"] = peak_bytes()
    result["versions"] = {name: version(name) for name in PACKAGES if name in sys.modules}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
