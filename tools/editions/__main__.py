"""Make an edition of the built pages: `python -m tools.editions pdf`, `… epub`.

python -m tools.editions pdf                              _build/html/book.pdf
python -m tools.editions pdf 04_qk_per_kv_group --to a.pdf   only these pages
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tools.editions.book import HTML, read_book
from tools.editions.epub import make_epub
from tools.editions.pdf import make_pdf


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status tells whether the edition was made."""
    parser = argparse.ArgumentParser(prog="python -m tools.editions", description=__doc__)
    parser.add_argument("edition", choices=("pdf", "epub"))
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="only these, by their slugs")
    parser.add_argument("--to", type=Path, help="the file (default: _build/html/book.EDITION)")
    chosen = parser.parse_args(arguments)
    to = chosen.to or HTML / f"book.{chosen.edition}"
    start = time.perf_counter()
    book = read_book(tuple(chosen.pages))
    if chosen.edition == "pdf":
        made = f"{make_pdf(book, to)} pages"
    else:
        made = f"{make_epub(book, to)} documents"
    size = to.stat().st_size / 1e6
    print(f"{to}: {made}, {size:.1f} MB ({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
