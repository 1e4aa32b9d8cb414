"""A server on a free port of this machine, with two tiny models: one of them can chat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest
from tiny_served import write_tiny

from llama_edu.serve.http.guard import Policy
from llama_edu.serve.http.served import ServedModel, Serving, load
from llama_edu.serve.http.server import running
from llama_edu.serve.job import Limits

PATIENCE_S = 120.0  # a loaded machine is slow, not wrong
LIMITS = Limits(max_num_seqs=8, max_queue=8, max_new_tokens=200, prefill_tokens=32)
POLICY = Policy(max_body_nbytes=20_000, body_seconds=PATIENCE_S)


@dataclass
class Site:
    """A running server, and ways to talk to it."""

    url: str
    serving: Serving
    http: httpx.Client
    client: openai.OpenAI

    @property
    def tiny(self) -> ServedModel:
        return self.serving.models["tiny"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("models")
    names = [write_tiny(folder / "tiny"), write_tiny(folder / "plain", chat_template=None)]
    serving = Serving(load([str(name) for name in names], LIMITS))
    with (
        running(serving, POLICY) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as http,
        httpx.Client(timeout=PATIENCE_S, trust_env=False) as inner,
    ):
        client = openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", http_client=inner, max_retries=0
        )
        yield Site(url, serving, http, client)
