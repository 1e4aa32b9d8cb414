"""EleutherAI's harness: a multiple-choice task and a written one, of files of our own."""

import json
import os
import urllib.request
from pathlib import Path

import lm_eval
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

folder = Path(os.environ["HOME"])
rows = [
    {"q": "Once upon a", "choices": [" time", " xylophone"], "gold": 0},
    {"q": "The cat sat on the", "choices": [" mat", " of"], "gold": 0},
]
(folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
data = f"dataset_path: json\ndataset_kwargs:\n  data_files: {folder / 'rows.jsonl'}\n"
common = f"{data}test_split: train\ndoc_to_text: '{{{{q}}}}'\n"
(folder / "choose.yaml").write_text(
    f"task: choose\noutput_type: multiple_choice\n{common}doc_to_choice: choices\n"
    "target_delimiter: ''\ndoc_to_target: gold\nmetric_list:\n  - metric: acc\n",
    "utf-8",
)
(folder / "write.yaml").write_text(
    f"task: write\noutput_type: generate_until\n{common}doc_to_target: '{{{{choices[0]}}}}'\n"
    "generation_kwargs:\n  until: ['.']\n  max_gen_toks: 12\n"
    "metric_list:\n  - metric: exact_match\n",
    "utf-8",
)


class Here(LocalCompletionsAPI):
    """The harness, its prompts encoded by the server, lest it fetch a tokenizer from a hub."""

    def tok_encode(self, string: str | list[str], **_: object) -> list:
        """The ids that /tokenize says, of one text or each of several."""
        if not isinstance(string, str):
            return [self.tok_encode(one) for one in string]
        body = json.dumps({"model": "story", "content": string}).encode()
        request = urllib.request.Request(f"{os.environ['SERVER']}/tokenize", body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]


model = Here(
    model="story",
    base_url=f"{os.environ['OPENAI_BASE_URL']}/completions",
    tokenizer_backend=None,
    max_length=512,
)
model.tokenizer = "that of the server"
model.tokenized_requests = True
results = lm_eval.simple_evaluate(
    model=model,
    tasks=["choose", "write"],
    task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    bootstrap_iters=0,
)["results"]
assert 0 <= results["choose"]["acc,none"] <= 1, results
print(f"ok: a multiple-choice task (acc {results['choose']['acc,none']:g})")
assert "write" in results
print("ok: generate_until")
