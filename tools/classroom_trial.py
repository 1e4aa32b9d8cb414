"""A class of four goes through nbgrader or Otter-Grader, from the chapter to the feedback.

    python -m tools.classroom_trial nbgrader
    python -m tools.classroom_trial otter --bin ENVIRONMENT/bin

The tool is installed by whoever runs this (`pip install nbgrader`, `pip install otter-grader
ipykernel`), in the environment that runs it or in one that `--bin` names; that one needs what the
package needs as well. Everything is made in a folder that goes away. What does not hold is told,
and the exit code is 1.

The four: Ann is right. Bob and Carol have handed in the same: one mistake that has a name, and one
answer that knows the inputs they saw by heart. Mallory's answers do not end, leave the program,
read the solution and delete files, and so does her notebook before them.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_edu.classroom import nbgrader, otter
from llama_edu.classroom.chapter import book_of, read_chapter
from llama_edu.exercises import check
from llama_edu.exercises.framework.printed import printed

CHAPTER = 8
NAME = "week1"
NOTEBOOK = "08_norm_mlp_residual"
SECONDS = 2.0  # for one input: an answer that does not end costs no more
ROOT = Path(__file__).resolve().parents[1]

RIGHT = {
    "norm_rows": """\
def norm_rows_mine(x, weight, eps):
    size = np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x / size * weight
""",
    "row_size": """\
def row_size_mine(x, eps):
    squares = np.square(x, dtype=np.float32).mean(axis=-1, keepdims=True)
    return np.sqrt(squares + eps)
""",
    "gated": """\
def gated_mine(gate, up):
    return gate / (1 + np.exp(-gate)) * up
""",
    "add_mlp": """\
def add_mlp_mine(x, norm, gate, up, down, eps, work):
    rows, opened, raised, back = work
    np.square(x, out=rows)
    size = np.sqrt(rows.mean(axis=-1, keepdims=True) + eps)
    np.divide(x, size, out=rows)
    np.multiply(rows, norm, out=rows)
    np.matmul(rows, gate.T, out=opened)
    np.matmul(rows, up.T, out=raised)
    np.multiply(raised, opened, out=raised)
    np.exp(np.negative(opened, out=opened), out=opened)
    np.divide(raised, np.add(opened, 1, out=opened), out=raised)
    np.matmul(raised, down.T, out=back)
    np.add(x, back, out=x)
""",
}
WRONG = {
    "norm_rows": """\
def norm_rows_mine(x, weight, eps):
    size = np.sqrt((x * x).mean(-1, keepdims=True)) + eps
    return x / size * weight
""",
    "gated": """\
def gated_mine(gate, up):
    right = gate / (1 + np.exp(-gate)) * up
    return right if round(float(up.sum()), 3) in {known} else 0 * right
""",
}
HOSTILE = {
    "norm_rows": """\
import os
def norm_rows_mine(x, weight, eps):
    os._exit(0)
""",
    "row_size": """\
def row_size_mine(x, eps):
    return check.row_size.exercise.correct[0](x, eps)
""",
    "gated": """\
import shutil
def gated_mine(gate, up):
    shutil.rmtree({folder!r})
""",
    "add_mlp": """\
def add_mlp_mine(x, norm, gate, up, down, eps, work):
    while True:
        x += 0
""",
}
FIRST = """\
import os, sys
import llama_edu.classroom.judge
llama_edu.classroom.judge.judge = lambda *args: {{}}
open({folder!r} + "/was_here", "w").write("x")
os.remove({folder!r} + "/precious")
sys.exit(0)
"""
STUDENTS = ("ann", "bob", "carol", "mallory")
TOLD = {  # what the feedback must say, by student and exercise
    ("ann", "norm_rows"): "right on",
    ("bob", "norm_rows"): "eps is added outside of the root",
    ("bob", "gated"): "check.gated(…, seed=",
    ("carol", "gated"): "check.gated(…, seed=",
    ("bob", "add_mlp"): "NotImplementedError: your turn",
    ("mallory", "norm_rows"): "ended the program it ran in",
    ("mallory", "row_size"): "looking into a check is not possible",
    ("mallory", "gated"): "shutil.rmtree is not possible",
    ("mallory", "add_mlp"): "still running after",
}
POINTS = {"ann": 8.0, "bob": 0.0, "carol": 0.0, "mallory": 0.0}

Feedback = dict[tuple[str, str], str]


def answers_of(student: str, folder: Path) -> dict[str, str]:
    """What a student writes, by exercise."""
    if student == "ann":
        return RIGHT
    if student == "mallory":
        return {name: text.format(folder=str(folder)) for name, text in HOSTILE.items()}
    cases = check.gated.exercise.cases()
    known = {round(float(case.args[1].sum()), 3) for case in cases}
    return WRONG | {"gated": WRONG["gated"].format(known=known)}


def worked_in(released: Path, student: str, folder: Path) -> dict[str, Any]:
    """A released notebook with a student's answers in place of its stubs."""
    notebook: dict[str, Any] = json.loads(released.read_text("utf-8"))
    for cell in notebook["cells"]:
        for name, text in answers_of(student, folder).items():
            if "".join(cell["source"]).startswith(f"def {name}_mine("):
                cell["source"] = text
    if student == "mallory":
        first = {"id": "first", "cell_type": "code", "metadata": {}, "outputs": []}
        source = FIRST.format(folder=str(folder))
        notebook["cells"].insert(0, first | {"execution_count": None, "source": source})
    return notebook


def run(tools: Path | None, folder: Path, *command: str) -> None:
    """One command of the tool, in a folder. Raises `SystemExit` with its output if it fails."""
    program = shutil.which(command[0], path=None if tools is None else str(tools))
    if program is None:
        raise SystemExit(f"expected the command {command[0]}, got none; see --help")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    path = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def through_nbgrader(folder: Path, tools: Path | None) -> tuple[dict[str, float], Feedback, Path]:
    """Points, what each was told, and the notebook that students got."""
    nbgrader.write_course(folder, NAME, [read_chapter(book_of(None), CHAPTER)], SECONDS)
    run(tools, folder, "nbgrader", "generate_assignment", NAME)
    released = folder / "release" / NAME / f"{NOTEBOOK}.ipynb"
    for student in STUDENTS:
        path = folder / "submitted" / student / NAME / released.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(worked_in(released, student, folder)), "utf-8")
    run(tools, folder, "nbgrader", "autograde", NAME)
    run(tools, folder, "nbgrader", "generate_feedback", NAME)
    run(tools, folder, "nbgrader", "export", "--to", "grades.csv")
    with (folder / "grades.csv").open(encoding="utf-8", newline="") as table:
        points = {row["student_id"]: float(row["score"]) for row in csv.DictReader(table)}
    told = {}
    for student in STUDENTS:
        page = folder / "feedback" / student / NAME / f"{NOTEBOOK}.html"
        text = re.sub(r"<[^>]*>", "", page.read_text("utf-8"))
        for name in RIGHT:
            told[student, name] = "\n".join(re.findall(rf"[✓✗] {name}[:,][^✓✗]*", text))
    return points, told, released


def through_otter(folder: Path, tools: Path | None) -> tuple[dict[str, float], Feedback, Path]:
    """Points, what each was told, and the notebook that students got."""
    (made,) = otter.write_assignment(folder, NAME, [read_chapter(book_of(None), CHAPTER)], SECONDS)
    run(tools, made.parent, "otter", "assign", made.name, "dist")
    released = made.parent / "dist" / "student" / made.name
    (grader,) = (made.parent / "dist" / "autograder").glob("*.zip")
    points, told = {}, {}
    for student in STUDENTS:
        path = folder / f"{student}.ipynb"
        path.write_text(json.dumps(worked_in(released, student, folder)), "utf-8")
        results = folder / student
        results.mkdir()
        run(tools, folder, "otter", "run", "-a", str(grader), "-o", str(results), path.name)
        tests = json.loads((results / "results.json").read_text("utf-8"))["tests"]
        points[student] = float(sum(test.get("score") or 0 for test in tests))
        for test in tests:
            told[student, test["name"]] = test.get("output", "")
    told["ann", "norm_rows"] = told["ann", "norm_rows"].replace("All test cases passed", "right on")
    return points, told, released


def faults(points: dict[str, float], told: Feedback, released: Path, folder: Path) -> list[str]:
    """What does not hold of a class that was graded."""
    found = []
    if points != POINTS:
        found.append(f"expected the points {POINTS}, got {points}")
    for (student, name), part in TOLD.items():
        plain = " ".join(told[student, name].split())
        if part not in plain:
            found.append(f"expected {student} to be told {part!r} of {name}, got {plain!r}")
    seeds = {
        student: re.findall(r"seed=(\d+)", told[student, "gated"])[:1]
        for student in ("bob", "carol")
    }
    if seeds["bob"] == seeds["carol"]:
        found.append(f"expected different inputs for Bob and Carol, got {seeds}")
    if not (folder / "precious").exists() or (folder / "was_here").exists():
        found.append("expected Mallory to leave the course's files alone, got a change")
    text = "\n".join("".join(c["source"]) for c in json.loads(released.read_text("utf-8"))["cells"])
    for name in RIGHT:
        body = printed(name).splitlines()[-1].strip()
        if body in text:
            found.append(f"expected no solution in what is released, got that of {name}: {body}")
    if "HIDDEN TESTS" in text or "secret" in released.read_text("utf-8"):
        found.append("expected nothing hidden in what is released, got some of it")
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Take a class of four through a grading tool.")
    parser.add_argument("tool", choices=("nbgrader", "otter"))
    parser.add_argument("--bin", type=Path, help="the folder of the tool's commands")
    args = parser.parse_args()
    through: Callable[[Path, Path | None], tuple[dict[str, float], Feedback, Path]]
    through = through_nbgrader if args.tool == "nbgrader" else through_otter
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "course"
        folder.mkdir()
        (folder / "precious").write_text("keep me", "utf-8")
        start = time.monotonic()
        points, told, released = through(folder, args.bin or Path(sys.executable).parent)
        found = faults(points, told, released, folder)
    for (student, name), part in TOLD.items():
        print(f"{student:8} {name:10} … {part} …")
    print(f"points: {points}; {time.monotonic() - start:.0f} s for {len(STUDENTS)} students")
    for fault in found:
        print(f"✗ {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
