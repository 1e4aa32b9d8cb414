"""A newcomer's first command: finding a Python, their pip settings, and when to do nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import environment  # noqa: E402


def requirements() -> dict[str, str]:
    """{package: version} of requirements.txt, names in their normal form."""
    text = (ROOT / "requirements.txt").read_text("utf-8")
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def test_everything_the_project_asks_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        asked += extra
    names = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in asked}
    assert names - {"llama-edu"} <= set(requirements())


def test_the_pins_name_no_index() -> None:
    text = (ROOT / "requirements.txt").read_text("utf-8")
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_pip_settings_are_read_as_pip_prints_them() -> None:
    listing = (
        "global.index-url='https://mirror.example/simple'\n"
        "global.find-links='/a\\n/b'\n"
        "install.index-url='https://other.example/simple'\n"
        ":env:.find-links='/c'\n"
        "freeze.timeout='10'\n"
    )
    assert environment.pip_settings(listing) == {
        "index-url": "https://other.example/simple",
        "find-links": "/c",
    }
    assert environment.pip_settings("global.find-links='/a\\n/b'\n") == {"find-links": "/a /b"}
    assert environment.pip_settings("") == {}


def test_uv_is_told_what_pip_was_told() -> None:
    settings = {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "https://more.example/simple",
        "find-links": "/a /b",
        "cert": "/etc/cert.pem",
    }
    told = environment.uv_environment(settings, {"PATH": "/bin"})
    assert told == {
        "PATH": "/bin",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
        "SSL_CERT_FILE": "/etc/cert.pem",
    }


def test_what_the_user_told_uv_wins() -> None:
    environ = {"UV_INDEX_URL": "https://uv.example/simple", "SSL_CERT_FILE": "/mine.pem"}
    settings = {"index-url": "https://pip.example/simple", "cert": "/pip.pem"}
    told = environment.uv_environment(settings, environ)
    assert told == environ | {"UV_PYTHON_DOWNLOADS": "never"}


def fake_checkout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Point the tool at an empty project; the list records which installer was called."""
    (folder / "requirements.txt").write_text("numpy==2.0\n", encoding="utf-8")
    (folder / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", folder)
    monkeypatch.setattr(environment, "REQUIREMENTS", folder / "requirements.txt")
    monkeypatch.setattr(environment, "VENV", folder / ".venv")
    monkeypatch.setattr(environment, "MARKER", folder / ".venv" / ".llama_edu")
    monkeypatch.setattr(environment, "PYTHON", folder / ".venv" / "python")
    calls: list[str] = []

    def install() -> None:
        calls.append("pip")
        (folder / ".venv").mkdir(exist_ok=True)
        (folder / ".venv" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(environment, "install_with_pip", install)
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    return calls


def test_installs_once_and_again_only_when_the_pins_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_checkout(tmp_path, monkeypatch)
    assert environment.main() == 0
    assert environment.main() == 0
    assert calls == ["pip"]
    (tmp_path / "requirements.txt").write_text("numpy==2.1\n", encoding="utf-8")
    (tmp_path / ".venv" / "python").unlink()
    assert environment.main() == 0
    assert calls == ["pip", "pip"]


def test_an_interrupted_installation_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_checkout(tmp_path, monkeypatch)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "half-made").touch()
    (tmp_path / ".venv" / ".llama_edu").write_text(environment.BUILDING, encoding="utf-8")
    assert environment.main() == 0
    assert calls == ["pip"]
    assert not (tmp_path / ".venv" / "half-made").exists()
    assert "interrupted" in capsys.readouterr().out


def test_a_failed_installation_leaves_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_checkout(tmp_path, monkeypatch)

    def fail() -> None:
        raise environment.SetupError("no index")

    monkeypatch.setattr(environment, "install_with_pip", fail)
    with pytest.raises(environment.SetupError):
        environment.main()
    assert environment.read_marker() != environment.wanted_key()


def run_env_sh(path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the script that lies beside no `.venv`, with `path` as the only PATH."""
    (path / "tools").mkdir(exist_ok=True)
    script = path / "tools" / "env.sh"
    script.write_text((ROOT / "tools" / "env.sh").read_text("utf-8"), encoding="utf-8")
    environ = {"PATH": str(path), **extra}
    return subprocess.run(["/bin/sh", script], env=environ, capture_output=True, text=True)


def commands(folder: Path, **scripts: str) -> None:
    """Put little shell programs into a folder, and the few tools a script needs."""
    for name in ("dirname", "command"):
        source = Path("/usr/bin") / name
        if source.exists():
            (folder / name).symlink_to(source)
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)


def test_without_a_suitable_python_it_says_so(tmp_path: Path) -> None:
    commands(tmp_path, python3='[ "$1" = --version ] && echo Python 3.9.1; exit 1')
    result = run_env_sh(tmp_path)
    assert result.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in result.stderr
    assert "Python 3.9.1" in result.stderr


def test_a_python_asked_for_by_name_is_the_one_or_none(tmp_path: Path) -> None:
    commands(tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "environment.py").write_text("print('here')", encoding="utf-8")
    assert run_env_sh(tmp_path, PYTHON=sys.executable).stdout == "here\n"
    refused = run_env_sh(tmp_path, PYTHON=os.devnull)
    assert refused.returncode == 1
    assert "is not a working Python" in refused.stderr
