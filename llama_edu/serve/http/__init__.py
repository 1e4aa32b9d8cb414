"""The HTTP side of the server, after OpenAI's API.

Bottom up: `requests`, `responses` and `api_errors` (the JSON of requests, answers and errors),
`policy` and `middleware` (who and what is let in), `connection` (how many may be connected, and how
long they may be silent), `metrics` and `logs`, `request_handle` (from the worker's thread to the
event loop), `sse` and `routes` (the addresses), `app` and `server` (all of it together). `static`
holds the page.
"""
