"""Which compilers there are on this machine, in the path or where rustup puts them."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

WHERE = os.pathsep.join([os.environ.get("PATH", ""), str(Path.home() / ".cargo" / "bin")])


@cache
def working(compiler: str) -> str | None:
    """The compiler's path, if it is there and runs: rustup's `rustc` may have nothing to start."""
    path = shutil.which(compiler, path=WHERE)
    if path is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True)
    return path if told.returncode == 0 else None
