"""Protocol 1 in front of the book's own engine: what every other program here is measured by.

    llama-edu verify --program "python engines/python/engine.py"

It answers as a reader's engine does, one line of JSON for one line of JSON, and can be put in front
of any other Python engine: exchange the three calls of `answer`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.engine.trace import Trace
from llama_edu.errors import LlamaEduError
from llama_edu.formats.safetensors import save_file
from llama_edu.text.tokenizer import Tokenizer

OPS = ["forward", "encode", "decode", "probabilities", "chat", "stream", "trace"]


class Engine:
    """A model with a cache, and what it answers to each request."""

    def __init__(self, directory: str) -> None:
        self.model = Llama.from_pretrained(directory)
        self.cache = self.model.new_cache()
        self.tokenizer = Tokenizer(directory)
        self.folder = tempfile.TemporaryDirectory()  # of traces; it goes with the program

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises `LlamaEduError` if model or tokenizer refuse it."""
        match request["op"]:
            case "hello":
                return {"name": "llama_edu, NumPy", "protocol": 1, "ops": OPS}
            case "forward":
                self.cache.truncate(request.get("past", 0))
                logits = self.model.forward(request["ids"], self.cache, last_only=True)[0]
                if not np.isfinite(logits).all():
                    return {"error": "logits are not finite"}
                return {"logits": logits.tolist()}
            case "encode":
                return {"ids": self.tokenizer.encode(request["text"])}
            case "decode":
                return {"text": self.tokenizer.decode(request["ids"])}
            case "stream":
                stream = self.tokenizer.stream()
                pieces = [stream.push(token_id) for token_id in request["ids"]]
                return {"pieces": [*pieces, stream.finish()]}
            case "probabilities":
                logits = np.array(request["logits"], dtype=np.float32)
                top_k, top_p = request["top_k"], request["top_p"]
                p = probabilities(logits, Sampling(request["temperature"], top_k, top_p))
                return {"probabilities": p.tolist()}
            case "chat":
                messages = [Message(m["role"], m["content"]) for m in request["messages"]]
                return {"ids": ChatTemplate(self.tokenizer).encode(messages)}
            case "trace":
                self.cache.truncate(request.get("past", 0))
                with Trace() as trace:
                    self.model.forward(request["ids"], self.cache, trace=trace)
                path = Path(self.folder.name) / "trace.safetensors"
                save_file({record.name: record.array for record in trace}, path)
                return {"path": str(path)}
            case op:
                return {"error": f"no op called {op!r}"}


def main() -> None:
    """Answer line by line."""
    engine = Engine(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = engine.answer(json.loads(line))
        except LlamaEduError as problem:
            answer = {"error": str(problem)}
        print(json.dumps(answer, allow_nan=False), flush=True)


if __name__ == "__main__":
    main()
