"""The model in the page: the same engine in JavaScript, for readers who have only a browser.

`src/` is the source, `llama.js` the one script a page runs; `npm run build` makes it, and it is
committed, so that neither the package nor the book needs Node. This module puts the script and a
model's weights beside a built page.
"""

from llama_edu.page.files import BUNDLE, model_script, write_page_files

__all__ = ["BUNDLE", "model_script", "write_page_files"]
