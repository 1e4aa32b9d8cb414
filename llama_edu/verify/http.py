"""An OpenAI-style server, examined through the log-probabilities it gives: no change to its code.

`POST …/completions` with token ids, temperature 0 and `logprobs` brings the likeliest tokens of
each position with their log-probabilities. That is enough: they are logits but for one number that
is added to all. Each prompt is followed by a few tokens of the server's own, so its cache is seen
at work; and prompts that begin alike meet a prefix cache, where there is one.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu import hub
from llama_edu.errors import InputError
from llama_edu.formats.config import LlamaConfig
from llama_edu.text.tokenizer import Tokenizer
from llama_edu.verify.advice import verdict_of
from llama_edu.verify.cases import Call
from llama_edu.verify.evidence import (
    Declared,
    Logprobs,
    Observed,
    Session,
    references,
    widened,
)
from llama_edu.verify.naming import find_mistake
from llama_edu.verify.parts import read_model
from llama_edu.verify.protocol import ProgramError
from llama_edu.verify.report import Report, Result
from llama_edu.verify.texts import ids_of_text

__all__ = ["verify_url"]

TOP = 20  # likeliest tokens asked for: what OpenAI's interface allows at most
NEW = 4  # tokens the server writes after each prompt
LENGTHS = (1, 8, 11, 20, 33, 47, 270)
DIGITS = 1.2e-4  # servers round log-probabilities to four digits


def verify_url(
    url: str,
    names: Sequence[str],
    *,
    limit: float = 60.0,
    naming_seconds: float = 8.0,
    declared: Declared | None = None,
) -> Report:
    """Examine the server at a base URL such as http://127.0.0.1:8080/v1, for each model.

    A server cannot say what it rounds to, so `declared` says it: the formats it computes in and
    keeps its cache in.
    What the server does ends in the report; `ProgramError` is raised where it does not answer.
    """
    declared = Declared() if declared is None else declared
    report = Report(url, declared.words)
    start = time.perf_counter()
    sessions = []
    for name in names:
        client = _Client(url.rstrip("/"), Path(hub.locate(name)), name, limit)
        sessions.append(client.session(report, declared))
    if any(session.first_wrong() is not None for session in sessions):
        finding = find_mistake(sessions, seconds=naming_seconds)
        report.verdicts.append(verdict_of(finding, sessions))
    report.seconds = time.perf_counter() - start
    return report


class _Client:
    def __init__(self, url: str, directory: Path, name: str, limit: float) -> None:
        self.url, self.directory, self.name, self.limit = url, directory, name, limit
        self.tokenizer = Tokenizer(directory)
        self.config = LlamaConfig.from_directory(directory)
        self.ids_by_text = self._texts()
        self.served = self._served()

    def session(self, report: Report, declared: Declared) -> Session:
        """Ask for every prompt, and compare what comes."""
        session = Session(self.name, read_model(self.directory))
        source = ids_of_text(self.directory, self.name) or tuple(range(3, 60))
        rng = np.random.default_rng(7)
        source += tuple(int(i) for i in rng.integers(3, self.config.vocab_size, LENGTHS[-1]))
        longest = self.config.max_position_embeddings - NEW
        calls, answers = [], []
        for length in (length for length in LENGTHS if length <= longest):
            some = self._asked(source[:length])
            calls += some[0]
            answers += some[1]
        wanted, bound = references(self.directory, calls, declared)
        bound = 2 * bound + DIGITS  # a sum over all tokens is taken from each
        for call, answer, want in zip(calls, answers, wanted, strict=True):
            seen = Observed(call, answer, want, widened(bound, call))
            session.observed.append(seen)
            report.results.append(self._result(seen, declared))
        return session

    def _result(self, seen: Observed, declared: Declared) -> Result:
        status, detail = "right" if seen.right else "wrong", ""
        if not np.isfinite(seen.gap):
            detail = "expected log-probabilities of known tokens, got none, NaN or ∞"
        elif not seen.right:
            detail = (
                f"log-probabilities are off by up to {seen.gap:.3g}, where right engines in "
                f"{declared.words} differ by at most {seen.tolerance:.1g}"
            )
        call = seen.call
        return Result(
            call.stage, self.name, call.label, status, detail, seen.gap, seen.tolerance, call.flags
        )

    def _asked(self, prompt: tuple[int, ...]) -> tuple[list[Call], list[Logprobs]]:
        """The calls one request stands for, with the log-probabilities of each."""
        body = {"prompt": list(prompt), "max_tokens": NEW, "temperature": 0, "logprobs": TOP}
        reply = self._post("/completions", body | {"model": self.served})
        try:
            logprobs = reply["choices"][0]["logprobs"]
            positions = self._positions(logprobs) if logprobs else []
        except (AttributeError, LookupError, TypeError, ValueError):
            raise ProgramError(
                "garbled", f"expected choices with logprobs, got {json.dumps(reply)[:160]}"
            ) from None
        calls, answers = [], []
        fed, past = prompt, 0
        for chosen, likeliest in positions[:NEW]:
            flags: tuple[str, ...] = ("past", "decode")
            if past == 0:
                flags = ("ends",) if len(fed) == 1 else ("attention",)
            label = f"prompt of {len(fed)}" if past == 0 else f"decode after {past}"
            calls.append(Call(label, fed, past, flags))
            answers.append(likeliest)
            if chosen is None:
                break  # a token that cannot be told from another: nobody knows what follows
            past, fed = past + len(fed), (chosen,)
        if not calls:
            raise ProgramError("garbled", "expected logprobs of at least one token, got none")
        return calls, answers

    def _positions(self, logprobs: Mapping[str, Any]) -> list[tuple[int | None, Logprobs]]:
        """For each new token its id and the scores beside it, from either form of the interface."""
        found = []
        if isinstance(logprobs.get("content"), list):  # the form of chat, which some servers use
            for entry in logprobs["content"]:
                scores = [(self._id(one), one["logprob"]) for one in entry["top_logprobs"]]
                found.append((self._id(entry), _scores(scores)))
            return found
        pairs = zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True)
        for token, likeliest in pairs:
            scores = [(self.ids_by_text.get(text), p) for text, p in (likeliest or {}).items()]
            found.append((self.ids_by_text.get(token), _scores(scores)))
        return found

    def _id(self, entry: Mapping[str, Any]) -> int | None:
        if isinstance(entry.get("id"), int):
            return int(entry["id"]) if entry["id"] in range(self.config.vocab_size) else None
        if isinstance(entry.get("bytes"), list):
            text = bytes(entry["bytes"]).decode("utf-8", errors="replace")
            return self.ids_by_text.get(text)
        return self.ids_by_text.get(str(entry.get("token")))

    def _texts(self) -> dict[str, int]:
        """Token texts that stand for one id alone."""
        found: dict[str, list[int]] = {}
        for token_id in range(self.tokenizer.vocab_size):
            text = self.tokenizer.token_bytes(token_id).decode("utf-8", errors="replace")
            found.setdefault(text, []).append(token_id)
        return {
            text: ids[0] for text, ids in found.items() if len(ids) == 1 and "\ufffd" not in text
        }

    def _served(self) -> str:
        """The name under which the server has the model: ours, or the only one it has."""
        listed = self._get("/models").get("data")
        listed = listed if isinstance(listed, list) else []
        names = [str(one.get("id")) for one in listed if isinstance(one, dict)]
        if self.name in names or not names:
            return self.name
        if len(names) == 1:
            return names[0]
        raise InputError(f"expected a served model called {self.name}, got {', '.join(names)}")

    def _get(self, path: str) -> dict[str, Any]:
        return self._answer(urllib.request.Request(self.url + path))

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return self._answer(urllib.request.Request(self.url + path, data, headers))

    def _answer(self, request: urllib.request.Request) -> dict[str, Any]:
        if not request.full_url.startswith(("http://", "https://")):
            raise InputError(f"expected an http address, got {request.full_url!r}")
        try:
            with urllib.request.urlopen(request, timeout=self.limit) as reply:
                answer = json.loads(reply.read())
        except urllib.error.HTTPError as problem:
            told = problem.read().decode("utf-8", errors="replace")[:200]
            raise ProgramError(
                "garbled", f"expected an answer from {request.full_url}, got {problem.code}: {told}"
            ) from problem
        except (OSError, http.client.HTTPException) as problem:
            raise ProgramError(
                "start", f"expected a server at {request.full_url}, got none: {problem}"
            ) from problem
        except (ValueError, RecursionError) as problem:
            raise ProgramError("garbled", f"expected JSON from {request.full_url}") from problem
        if not isinstance(answer, dict):
            raise ProgramError("garbled", f"expected a JSON object from {request.full_url}")
        return answer


def _scores(pairs: Sequence[tuple[int | None, float | None]]) -> Logprobs:
    """The tokens that are known and not as good as impossible; null counts as NaN."""
    numbers = [(i, np.nan if p is None else p) for i, p in pairs]
    known = [(i, p) for i, p in numbers if i is not None and not p <= -1e4]
    ids = np.array([i for i, _ in known], dtype=np.int64)
    return Logprobs(ids, np.array([p for _, p in known], dtype=np.float64))
