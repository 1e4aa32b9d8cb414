"""A prefix cache: keys and values that many conversations begin with, computed once.

A radix tree over token ids. Each edge holds a run of ids and their rows; a path from the root is a
prefix that was computed. Two conversations under one system prompt share the path of that prompt
and part behind it. Rows go in as copies and are never written again, so that any number of caches
may look at them where they are: a system prompt is in memory once, however many talk under it.
Memory is bounded: when it is full, what was not used for longest goes, leaves first.

The design is the radix attention of SGLang (Zheng et al. 2024, arXiv:2312.07104). vLLM shares pages
of 16 positions instead (Kwon et al. 2023, arXiv:2309.06180), and finds each by a table. A run here
is as long as what is shared, which holds no more rows, and attention finds long ones in one place.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llama_edu.engine.cache import KVCache, Rows
from llama_edu.errors import InputError

__all__ = ["PrefixCache", "PrefixStats", "common_length"]


@dataclass(frozen=True)
class PrefixStats:
    """Counts since the cache was made. `asked`, `reused` and `evicted` are positions."""

    lookups: int = 0
    asked: int = 0
    reused: int = 0
    evicted: int = 0


@dataclass(eq=False)
class _Node:
    """A run of ids with their rows, which are never written again, and what may follow it."""

    token_ids: tuple[int, ...]
    rows: Rows
    parent: "_Node | None" = None
    children: "dict[int, _Node]" = field(default_factory=dict)
    used: int = 0


class PrefixCache:
    """Rows of the KV caches of one model, found by the ids they were computed from.

    Safe to use from several threads. Rows only fit the model, precision and backend they were
    computed with; keep one prefix cache for each.
    """

    def __init__(self, max_nbytes: int) -> None:
        """Hold at most `max_nbytes` bytes of keys and values. Raises `InputError` below 1."""
        if max_nbytes < 1:
            raise InputError(f"expected max_nbytes of at least 1, got {max_nbytes}")
        self.max_nbytes = max_nbytes
        self._lock = threading.Lock()
        self._clock = 0
        self._stats = PrefixStats()
        self._layout: tuple[int, int, int, str] | None = None
        self._empty()

    def _empty(self) -> None:
        none = np.empty((0, 0, 0, 0), dtype=np.float32)
        self._root = _Node((), Rows(none, none))
        self._nbytes = 0
        self._n_positions = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held now."""
        return self._nbytes

    @property
    def n_positions(self) -> int:
        """Positions held now, each counted once however many conversations share it."""
        return self._n_positions

    def stats(self) -> PrefixStats:
        """Counts so far."""
        with self._lock:
            return self._stats

    def clear(self) -> None:
        """Forget every row. The counts stay."""
        with self._lock:
            self._empty()

    def match(self, token_ids: Sequence[int]) -> int:
        """How many of the ids, from the first on, have their rows here. Uses nothing up."""
        with self._lock:
            return sum(shared for _, shared in self._path(token_ids))

    def restore(self, token_ids: Sequence[int], cache: KVCache) -> int:
        """Extend `cache` by the rows known for `token_ids`; returns how many were added.

        Long runs are not copied: the cache looks at them, and keeps them if they are dropped here.
        The cache holds the rows of the first `cache.length` ids already; it may be empty. The last
        id never gets a row: it has to be run, for the logits of what follows.

        Raises `ContextError` if the rows do not fit, `InputError` for the cache of another model.
        """
        past = cache.length
        with self._lock:
            self._check_layout(cache)
            runs = []
            for node, shared in self._path(token_ids):
                self._touch(node)
                runs.append(node.rows[:shared])
            known = min(sum(map(len, runs)), len(token_ids) - 1)
            reused = max(known - past, 0)
            self._count(lookups=1, asked=len(token_ids), reused=reused)
        cache.check_room(reused)
        # Rows are never written again, so this can go on while others use the tree.
        start = 0
        for run in runs:
            first, last = max(cache.length - start, 0), min(len(run), known - start)
            if first < last:
                cache.borrow(run[first:last])
            start += len(run)
        return reused

    def store(self, token_ids: Sequence[int], cache: KVCache) -> None:
        """Remember the first `len(token_ids)` rows of `cache`, computed from these very ids.

        They are copied, and then the cache looks at the copy and gives up the rows of its own.
        What does not fit into `max_nbytes` is left out, from the end. Raises `InputError` if the
        cache holds fewer rows, or is the cache of another model.
        """
        if len(token_ids) > cache.length:
            raise InputError(
                f"expected a cache with the rows of {len(token_ids)} ids, got {cache.length} rows"
            )
        with self._lock:
            self._check_layout(cache)
            per_position = cache.nbytes // max(cache.length, 1)
            room = self.max_nbytes // max(per_position, 1)
            ids = tuple(token_ids[:room])
            parent, known, runs = self._root, 0, list[Rows]()
            for node, shared in self._path(ids):
                parent = self._split(node, shared) if shared < len(node.token_ids) else node
                self._touch(parent)
                known += shared
                runs.append(parent.rows)
            if known < len(ids):
                rows = Rows(*cache.rows(known, len(ids)))
                self._add(parent, ids[known:], rows)
                runs.append(rows)
            self._evict()
        cache.lean_on(runs)  # which takes the rows out of memory that they would be in twice

    def _path(self, token_ids: Sequence[int]) -> list[tuple[_Node, int]]:
        """The nodes along `token_ids`, and how many ids of each match: all, but for the last."""
        path: list[tuple[_Node, int]] = []
        node, start = self._root, 0
        while start < len(token_ids):
            child = node.children.get(token_ids[start])
            if child is None:
                break
            shared = common_length(child.token_ids, token_ids[start : start + len(child.token_ids)])
            path.append((child, shared))
            if shared < len(child.token_ids):
                break
            node, start = child, start + shared
        return path

    def _touch(self, node: _Node) -> None:
        self._clock += 1
        node.used = self._clock

    def _add(self, parent: _Node, token_ids: tuple[int, ...], rows: Rows) -> _Node:
        node = _Node(token_ids, rows, parent)
        parent.children[token_ids[0]] = node
        self._touch(node)
        self._nbytes += rows.nbytes
        self._n_positions += len(token_ids)
        return node

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut the run of a node in two, and return the new node of its first part."""
        # Copies, not views: a view would keep the whole alive after one part is evicted.
        first, rest = node.rows[:at].copy(), node.rows[at:].copy()
        assert node.parent is not None
        self._forget(node)
        head = self._add(node.parent, node.token_ids[:at], first)
        tail = self._add(head, node.token_ids[at:], rest)
        head.used = tail.used = node.used
        tail.children = node.children
        for child in tail.children.values():
            child.parent = tail
        return head

    def _forget(self, node: _Node) -> None:
        assert node.parent is not None
        del node.parent.children[node.token_ids[0]]
        self._nbytes -= node.rows.nbytes
        self._n_positions -= len(node.token_ids)

    def _evict(self) -> None:
        """Drop what was not used for longest until the rest fits. Inner nodes wait for theirs."""
        while self._nbytes > self.max_nbytes:
            oldest = min(self._leaves(), key=lambda node: node.used)
            self._forget(oldest)
            self._count(evicted=len(oldest.token_ids))

    def _leaves(self) -> Iterator[_Node]:
        pending = list(self._root.children.values())
        while pending:
            node = pending.pop()
            pending.extend(node.children.values())
            if not node.children:
                yield node

    def _count(self, **more: int) -> None:
        counts = {name: getattr(self._stats, name) + n for name, n in more.items()}
        self._stats = replace(self._stats, **counts)

    def _check_layout(self, cache: KVCache) -> None:
        layout = (cache.n_layers, cache.n_kv_heads, cache.head_dim, str(cache.dtype))
        if self._layout is None:
            self._layout = layout
        elif layout != self._layout:
            raise InputError(
                "expected a cache of (layers, n_kv_heads, head_dim, dtype) "
                f"{self._layout}, got {layout}"
            )


def common_length(run: Sequence[int], token_ids: Sequence[int]) -> int:
    """How many ids two sequences have in common, from the first on."""
    pairs = zip(run, token_ids, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(run), len(token_ids)))
