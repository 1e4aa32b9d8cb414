"""Serving: one model in memory, many readers at once, over HTTP.

Bottom up: `job` (what one reader asked for, and how far it is), `output` (ids to text that may be
sent), `scheduler` (which tokens go through the model together, one step at a time), `worker` (the
thread that steps). These need nothing but the engine. `http` is all the rest; it needs the extra
`serve`: `pip install "llama_edu[serve]"`.
"""
