"""What an engine and the kit say on the page *Port it*: run, and written where it stands there.

    python engines/port_it.py           run everything again, and write what came
    python engines/port_it.py --check   say what differs

A block of the page follows lines that say how it was made: which mistakes are switched on, and
which options `llama-edu verify` was given, or how many tokens of a story were asked for. The engine
is the one in Rust with every mistake of `planted.toml` woven in. Seconds are left out, since they
are of one machine, and what rounding leaves of a difference is shown as a power of ten.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from plant import VARIABLE, read_plants, woven

from llama_edu.hub import locate

ENGINES = Path(__file__).resolve().parent
PAGE = ENGINES.parent / "book" / "port_it.md"
BLOCK = re.compile(
    r"^% planted:(?P<planted>[^\n]*)\n% (?P<kind>options|story): (?P<given>[^\n]*)\n"
    r"```(?P<language>\w+)\n(?P<text>.*?)```$",
    re.MULTILINE | re.DOTALL,
)
# A reader's engine has another name, and its ops are named one after another.
READERS = {
    '"llama.rs"': '"my engine"',
    "OPS.iter()": 'OPS.iter().filter(|op| !planted(&format!("no_{op}")))',
}
OPENING = "Once upon a time"


def source() -> str:
    """The engine in Rust with switches for its mistakes and its ops."""
    folder = ENGINES / "rust"
    text = (folder / "llama.rs").read_text(encoding="utf-8")
    text = woven(text, read_plants(folder / "planted.toml"), "rust")
    for find, new in READERS.items():
        if text.count(find) != 1:
            raise ValueError(f"expected {find!r} once, got {text.count(find)}")
        text = text.replace(find, new)
    return text


def told(engine: Path, block: re.Match[str]) -> str:
    """What a block of the page should show."""
    planted = block["planted"].strip()
    if block["kind"] == "story":
        return story(engine, planted, int(block["given"]))
    shown = f"$ llama-edu verify --program ./engine {block['given']}\n"
    return shown + steady(report(engine, planted, block["given"]))


def report(engine: Path, planted: str, options: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "llama_edu", "verify", "--naming-seconds", "60"]
    program = f"env {VARIABLE}={planted} {engine}"
    done = subprocess.run(
        [*command, "--program", program, *options.split()], capture_output=True, text=True
    )
    if done.stderr:
        raise RuntimeError(done.stderr)
    return done.stdout


def steady(text: str) -> str:
    """A report without what differs from machine to machine."""
    text = re.sub(r", \d+\.\d s\)", ")", text)
    text = re.sub(r"to within \d\.\de-(\d+)", lambda m: f"to within 1e-{int(m[1]) - 1:02}", text)
    return re.sub(r"\n +\n", "\n\n", text)


def story(engine: Path, planted: str, count: int) -> str:
    """The likeliest token, so many times."""
    command = ["env", f"{VARIABLE}={planted}", str(engine), str(locate("story"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]

        def ask(**request: object) -> dict[str, list[float]]:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer: dict[str, list[float]] = json.loads(process.stdout.readline())
            return answer

        ids = ask(op="encode", text=OPENING)["ids"]
        fed, past = ids, 0
        for _ in range(count):
            logits = ask(op="forward", ids=fed, past=past)["logits"]
            past += len(fed)
            fed = [logits.index(max(logits))]
            ids = [*ids, *fed]
        text = str(ask(op="decode", ids=ids)["text"])
        process.stdin.close()
    return "\n".join(lines(text + "…")) + "\n"


def lines(text: str, width: int = 72) -> Iterator[str]:
    """A text in lines of a page's width."""
    line = ""
    for word in text.split():
        if len(line) + len(word) >= width:
            yield line
            line = ""
        line += (" " if line else "") + word
    yield line


def main(arguments: list[str]) -> int:
    """Build the engine, and write or compare the page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.rs"
        path.write_text(source(), encoding="utf-8")
        built = path.with_suffix("")
        quiet = ["-Copt-level=1", "-Awarnings"]
        subprocess.run(["rustc", "--edition=2021", *quiet, "-o", built, path], check=True)
        page = PAGE.read_text(encoding="utf-8")

        def again(block: re.Match[str]) -> str:
            head = block[0].partition("```")[0]
            return f"{head}```{block['language']}\n{told(built, block)}```"

        new = BLOCK.sub(again, page)
    if "--check" not in arguments:
        PAGE.write_text(new, encoding="utf-8")
    return int(new != page and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
