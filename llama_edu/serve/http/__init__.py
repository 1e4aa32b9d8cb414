"""The server's plumbing: FastAPI, server-sent events, guards, and the page."""
