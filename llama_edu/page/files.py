"""Write what a page loads: the bundle, and a model as a script that the reader's click loads.

A page opened from a file may fetch nothing, and may load classic scripts only. So a model travels
as one: `llamaEduModels.story = {texts: {"config.json": …}, weights: "base64"}`.
"""

import base64
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from llama_edu import hub

__all__ = ["BUNDLE", "model_script", "write_page_files"]

MODELS = ("story", "chat")  # those of the labs
BUNDLE = Path(__file__).parent / "llama.js"
TEXTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def model_script(name: str, directory: str | os.PathLike[str]) -> str:
    """A model directory with one `model.safetensors` as the text of a classic script.

    Raises `FileNotFoundError` if the weights are not there.
    """
    folder = Path(directory)
    texts = {t: (folder / t).read_text("utf-8") for t in TEXTS if (folder / t).is_file()}
    weights = base64.b64encode((folder / "model.safetensors").read_bytes()).decode()
    content = json.dumps({"name": name, "texts": texts, "weights": weights})
    # Nothing in a script may look like its end, even where it is only text.
    content = content.replace("</", "<\\/")
    return f"(globalThis.llamaEduModels ??= {{}}).{name} = {content};\n"


def write_page_files(folder: str | os.PathLike[str], models: Iterable[str] = MODELS) -> None:
    """Put `llama.js` and `llama-<model>.js` of each embedded model into a folder of pages."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    _write(target / BUNDLE.name, BUNDLE.read_text("utf-8"))
    for name in models:
        _write(target / f"llama-{name}.js", model_script(name, hub.locate(name)))


def _write(path: Path, text: str) -> None:
    """All of it or nothing, and not again if it is there: several kernels may do this at once."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8", newline="\n"
    ) as part:
        part.write(text)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(path)
