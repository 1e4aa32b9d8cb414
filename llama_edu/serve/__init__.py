"""Serving: one model in memory, many readers at once, over HTTP.

Bottom up: `job` (what one reader asked for, and how far it is), `output` (ids to text that may be
sent), `scheduler` (which tokens go through the model together, one step at a time), `worker` (the
thread that steps); then `wire`, `replies` and `problems` (the JSON of requests, answers and
errors), `guard` (what is let in), `metrics` and `logs`, `sse` and `routes` (HTTP), `app` and
`server` (all of it together). The first four need nothing but the engine. The rest needs the extra
`serve`: `pip install "llama_edu[serve]"`. `static` holds the page.
"""
