"""The real model for a class: one file that all students read, and that lies in memory once."""

import os
import shutil
from pathlib import Path

from llama_edu import hub
from llama_edu.errors import InputError
from llama_edu.formats.precision import to_float32
from llama_edu.formats.safetensors import open_checkpoint, save_file

__all__ = ["shared_copy"]


def shared_copy(
    folder: str | os.PathLike[str], name: str = hub.PRETRAINED_MODEL, *, widen: bool = True
) -> Path:
    """Write a known model into a folder that `LLAMA_EDU_MODELS` is to name; its directory.

    With `widen` its weights are stored in float32, which the chapters compute in. Bytes of a file
    are mapped and not copied where they are in the precision asked for, and a page that is mapped
    by a hundred processes lies in memory once. No number changes: every bfloat16 is a float32.
    Raises `InputError` where there is something of that name already.
    """
    source, target = hub.fetch(name), Path(folder) / name
    if target.exists():
        raise InputError(f"expected no {target} yet, got one; it was left as it is")
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("*.safetensors*") if widen else None
    )
    if widen:
        stored = open_checkpoint(source)
        tensors = {name: to_float32(stored[name]) for name in stored}
        save_file(tensors, target / "model.safetensors")
    return target
