"""What surrounds the code: workflows, templates and hooks are in form, and say what is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import check

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "dependabot": [ROOT / ".github" / "dependabot.yml"],
    "github-issue-forms": [
        ROOT / ".github" / "ISSUE_TEMPLATE" / name for name in ("bug.yml", "book.yml")
    ],
    "github-issue-config": [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}


def jobs(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / name).read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return found


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_github_reads_is_in_its_form(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    files = [str(path) for path in SCHEMAS[schema]]
    result = subprocess.run([*command, *files], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_job_ends() -> None:
    for workflow in WORKFLOWS:
        for name, job in jobs(workflow.name).items():
            assert job.get("timeout-minutes", 999) <= 30, f"{workflow.name}: {name}"


def test_pages_wait_for_every_other_job() -> None:
    test = jobs("test.yml")
    assert set(test["pages"]["needs"]) == set(test) - {"pages"}
    assert not (ROOT / ".github" / "workflows" / "pages.yml").exists()


def test_the_tests_run_on_every_python_we_name() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for version in jobs("test.yml")["test"]["strategy"]["matrix"]["python"]:
        assert f'"Programming Language :: Python :: {version}"' in text


def test_the_hook_runs_the_checks_of_the_lint_job() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local", "a version written here could differ from the lock's"
    (hook,) = repository["hooks"]
    *_, command = shlex.split(hook["entry"])
    names = command.partition(" -m tools.check ")[2].split()
    assert set(names) <= set(check.CHECKS)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"\n\t@$(PY) -m tools.check {' '.join(names)}\n" in makefile
    assert jobs("test.yml")["lint"]["steps"][-1] == {"run": "make lint"}


@pytest.mark.posix
@pytest.mark.parametrize("scripts", ["bin", "Scripts"])
def test_the_hook_starts_where_no_python_is_on_the_path(tmp_path: Path, scripts: str) -> None:
    """On Debian and macOS there may be `python3` alone, on Windows there is `python` alone."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (tmp_path / ".venv" / scripts).mkdir(parents=True)
    fake = tmp_path / ".venv" / scripts / "python"
    fake.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    fake.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "sh").symlink_to("/bin/sh")
    shown = subprocess.run(
        shlex.split(config["repos"][0]["hooks"][0]["entry"]),
        cwd=tmp_path,
        env=os.environ | {"PATH": str(empty)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "-m tools.check lint format types layers\n"


def test_the_devcontainer_has_what_the_continuous_integration_installs() -> None:
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    installed = set(settings["onCreateCommand"].partition(" && npm ci")[0].split())
    lists = re.findall(r"missing\+=\(([^)]+)\)", (ROOT / ".ci" / "run").read_text("utf-8"))
    assert {name for names in lists for name in names.split()} - installed == {"nodejs", "npm"}
    (node,) = (made for name, made in settings["features"].items() if "/node:" in name)
    wanted = json.loads((ROOT / "package.json").read_text("utf-8"))["engines"]["node"]
    assert wanted == f">={node['version']}"


def test_every_lock_is_looked_after() -> None:
    text = (ROOT / ".github" / "dependabot.yml").read_text("utf-8")
    kinds = {update["package-ecosystem"] for update in yaml.safe_load(text)["updates"]}
    assert kinds == {"github-actions", "pip", "npm"}
    assert (ROOT / "package-lock.json").is_file()


def test_the_devcontainer_runs_commands_that_exist() -> None:
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert settings["postCreateCommand"].startswith("make ")
    for target in settings["postCreateCommand"].split()[1:]:
        assert f"\n{target}:" in makefile


def test_binder_installs_what_reading_takes() -> None:
    assert (ROOT / ".binder" / "requirements.txt").read_text("utf-8") == (
        "-r ../requirements/read.txt\n"
    )
