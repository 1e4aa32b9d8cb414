"""Hugging Face transformers as an engine to be examined: behind protocol 1, or behind HTTP.

    llama-edu verify --program "python engines/others/hugging_face.py"

    python engines/others/hugging_face.py MODEL_DIRECTORY --port 8090
    llama-edu verify --url http://127.0.0.1:8090/v1 --model story

Nothing of llama_edu is in it: `pip install torch transformers` is all it needs. `--dtype bfloat16`
computes and keeps the cache in that format, and says so.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging

TOP = 20  # log-probabilities a position, as in OpenAI's interface


class Engine:
    """A model with one cache."""

    def __init__(self, directory: str, dtype: str) -> None:
        kind = getattr(torch, dtype)
        self.dtype = dtype
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=kind).eval()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(directory)
        except Exception:  # a directory of numbers alone
            self.tokenizer = None
        self.cache = DynamicCache()

    @torch.inference_mode()
    def forward(self, ids: list[int], past: int) -> torch.Tensor:
        """Keep `past` cached positions, feed the ids; float32 logits after the last one."""
        held = self.cache.get_seq_length()
        limit = self.model.config.max_position_embeddings
        if not ids or past > held or past + len(ids) > limit:
            raise ValueError(f"expected ids that fit after at most {held} cached, got {past}")
        if past == 0:
            self.cache = DynamicCache()
        elif past < held:
            self.cache.crop(past - held)
        reply = self.model(torch.tensor([ids]), past_key_values=self.cache, use_cache=True)
        logits: torch.Tensor = reply.logits[0, -1].float()
        return logits

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Protocol 1."""
        match request["op"]:
            case "hello":
                ops = ["forward"] + (["encode", "decode", "chat"] if self.tokenizer else [])
                return {"name": "transformers", "protocol": 1, "ops": ops, "dtype": self.dtype}
            case "forward":
                return {"logits": self.forward(request["ids"], request.get("past", 0)).tolist()}
            case "encode":
                return {"ids": self.tokenizer(request["text"])["input_ids"]}
            case "decode":
                text = self.tokenizer.decode(
                    request["ids"], skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
                return {"text": text}
            case "chat":
                ids = self.tokenizer.apply_chat_template(
                    request["messages"], add_generation_prompt=True, return_dict=False
                )
                return {"ids": ids}
        raise ValueError(f"no op called {request['op']}")

    def complete(self, request: dict[str, Any]) -> dict[str, Any]:
        """One greedy completion with the log-probabilities of each new token."""
        fed, past, content = list(request["prompt"]), 0, []
        for _ in range(request["max_tokens"]):
            scores = self.forward(fed, past).log_softmax(-1)
            likeliest = scores.topk(min(TOP, len(scores)))
            pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
            entries = [{"id": i, "token": str(i), "logprob": round(p, 4)} for i, p in pairs]
            content.append(entries[0] | {"top_logprobs": entries})
            past, fed = past + len(fed), [entries[0]["id"]]
        return {"choices": [{"index": 0, "text": "", "logprobs": {"content": content}}]}


def speak(engine: Engine) -> None:
    """An answer on standard output to each line of standard input."""
    for line in sys.stdin:
        try:
            told = engine.answer(json.loads(line))
        except Exception as problem:  # an answer to every request, whatever happens
            told = {"error": f"{type(problem).__name__}: {problem}"}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def serve(engine: Engine, name: str, port: int) -> None:
    """The part of OpenAI's interface that `verify --url` asks for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": name, "object": "model"}]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(engine.complete(request))

        def _send(self, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Read the model, then answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--port", type=int)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    engine = Engine(args.directory, args.dtype)
    if args.port:
        serve(engine, args.directory.rstrip("/").rpartition("/")[2], args.port)
    else:
        speak(engine)


if __name__ == "__main__":
    main()
