"""A newcomer's first command: which Python, when to install, and when to do nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import check, environment
from tools.lock import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("dev", "read")}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: Path) -> dict[str, str]:
    """{package: version} of a lock, names in their normal form."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text("utf-8"), re.MULTILINE)
    return {normal(name): version for name, version in found}


def asked(lines: list[Any], groups: dict[str, list[Any]]) -> set[str]:
    """The names of packages in a list of requirements, groups it includes among them."""
    names: set[str] = set()
    for line in lines:
        if isinstance(line, dict):
            names |= asked(groups[line["include-group"]], groups)
        else:
            found = re.match(r"[\w.-]+", line)
            assert found, line
            names.add(normal(found[0]))
    return names - {"llama-edu"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_everything_the_project_asks_for_is_pinned(project: dict[str, Any]) -> None:
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    everything = asked(project["project"]["dependencies"], groups)
    assert set(EXTRAS) == set(extras) - {"classroom", "ray"}  # large, for tests of their own
    chosen = (extras[name] for name in EXTRAS)
    for lines in (*chosen, *(groups[name] for name in groups if name != "mutation")):
        everything |= asked(lines, groups)
    assert everything <= set(pins(LOCKS["dev"]))


def test_extras_are_for_users(project: dict[str, Any]) -> None:
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    assert not set(extras) & set(groups)
    work = asked(groups["lint"], groups) | asked(groups["browser"], groups)
    assert not work & set().union(*(asked(lines, groups) for lines in extras.values()))


def test_reading_needs_less_in_the_same_versions(project: dict[str, Any]) -> None:
    read, dev = pins(LOCKS["read"]), pins(LOCKS["dev"])
    assert read.items() < dev.items()
    groups = project["dependency-groups"]
    assert asked(groups["read"], groups) <= set(read)
    assert not {"playwright", "pytest", "mypy", "sphinx", "numba"} & set(read)


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_the_pins_name_no_index(lock: Path) -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", lock.read_text("utf-8"))


def test_the_version_stands_in_one_place(project: dict[str, Any]) -> None:
    import llama_edu

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "llama_edu/__init__.py"
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {llama_edu.__version__}\n" in citation


class Checkout:
    """An empty project that the tool takes for its own; nothing is installed, only noted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.venv = folder / ".venv"
        self.lock = folder / "dev.txt"
        self.lock.write_text("numpy==2.0\n", encoding="utf-8")
        (folder / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
        self.commands: list[tuple[str, ...]] = []
        self.ends_well = True
        self.uv: str | None = None
        for name, value in {
            "ROOT": folder,
            "LOCK": self.lock,
            "VENV": self.venv,
            "MARKER": self.venv / ".llama_edu",
            "PYTHON": self.venv / "python",
            "run": self.run,
        }.items():
            monkeypatch.setattr(environment, name, value)
        found = lambda name: self.uv if name == "uv" else None  # noqa: E731
        monkeypatch.setattr("shutil.which", found)

    def run(self, *command: str) -> bool:
        self.commands.append(command)
        if command[1:3] == ("-m", "venv"):
            self.venv.mkdir()
            (self.venv / "python").symlink_to(sys.executable)
        return self.ends_well or command[1:3] == ("-m", "venv")

    def programs(self) -> list[str]:
        """What was asked to install, in order."""
        return [c[0] if c[0] == self.uv else c[2] for c in self.commands if "install" in c]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path, monkeypatch)


def test_installs_once_and_again_only_when_the_pins_change(checkout: Checkout) -> None:
    assert environment.main() == 0
    assert checkout.programs() == ["pip", "pip"]  # the pins, then the project itself
    assert environment.main() == 0
    assert len(checkout.programs()) == 2
    checkout.lock.write_text("numpy==2.1\n", encoding="utf-8")
    assert environment.main() == 0
    assert len(checkout.programs()) == 4
    assert sum(command[1:3] == ("-m", "venv") for command in checkout.commands) == 1


def test_an_interrupted_installation_is_not_trusted(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.venv.mkdir()
    (checkout.venv / "half-made").touch()
    (checkout.venv / ".llama_edu").write_text(environment.BUILDING, encoding="utf-8")
    assert environment.main() == 0
    assert checkout.programs() == ["pip", "pip"]
    assert not (checkout.venv / "half-made").exists()
    assert "interrupted" in capsys.readouterr().out


def test_a_failed_installation_leaves_no_key(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.ends_well = False
    assert environment.main() == 1
    assert "package index" in capsys.readouterr().err
    assert environment.read_marker() == environment.BUILDING
    checkout.ends_well = True
    assert environment.main() == 0
    assert environment.read_marker() == environment.wanted_key()


def test_uv_is_used_where_it_is_and_pip_where_it_fails(checkout: Checkout) -> None:
    checkout.uv = "/somewhere/uv"
    assert environment.main() == 0
    assert checkout.programs() == ["/somewhere/uv", "/somewhere/uv"]
    checkout.lock.write_text("numpy==2.1\n", encoding="utf-8")
    checkout.ends_well = False
    assert environment.main() == 1
    assert checkout.programs()[2:] == ["/somewhere/uv", "pip"]


def test_a_python_that_does_not_suit_gives_way_to_one_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "BASE_PYTHON", os.devnull)
    monkeypatch.setattr(
        "shutil.which", lambda name: sys.executable if name == "python3.12" else None
    )
    assert environment.base_python() == sys.executable
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(environment.SetupError, match=r"needs Python 3\.11, 3\.12 or 3\.13"):
        environment.base_python()


def test_what_runs_before_anything_is_installed_takes_the_standard_library() -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None; sys.platform = 'win32'\n"
        "import tools.check, tools.environment, tools.lock"
    )
    command = [sys.executable, "-S", "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_every_room_of_tests_is_run() -> None:
    rooms = {path.parent for path in (check.ROOT / "tests").rglob("test_*.py")}
    wanted = {f"tests/{path.relative_to(check.ROOT / 'tests').parts[0]}" for path in rooms}
    assert {*check.SHAPED, *check.UNSHAPED, *check.PORTS} == wanted - {
        "tests/e2e",
        "tests/notebooks",
    }
    assert not {*check.SHAPED} & {*check.UNSHAPED, *check.PORTS}
