"""From numbers that are off to the mistake that makes them.

Every entry of the catalogue is an engine that can be run. One that gives, call for call, what the
engine under examination gave, has its mistake. To be named, a mistake has to explain *all* that
was seen: the calls that are off, the calls that are right, on every model. Where several do, they
are named together. Where none does, two at once are tried, and then nothing is named: the nearest
entries are shown as what they are, near.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llama_edu.verify.evidence import Nothing, Observed, Session, Unseen
from llama_edu.verify.mistakes import CATALOGUE, Mistake
from llama_edu.verify.parts import Parts, PartsEngine, combined

__all__ = ["Finding", "Nearest", "find_mistake", "narrowed"]

Set = tuple[Mistake, ...]
CLEARLY = 4.0  # times nearer to the mistake than to what is right, before it may be named
ROUNDING = 4.0  # times the bound: a mistake may make rounding grow
CHAOS = 1000.0  # times nearer is near enough: some mistakes make rounding grow without end
DETAIL = 50.0  # times as far from its smallest to its largest number, or it tells nothing apart
MOST_TOGETHER = 3  # mistakes named as one explanation
NO_LOGITS = np.empty(0, dtype=np.float32)
MOST_KEPT = 8  # explanations followed further


@dataclass(frozen=True)
class Nearest:
    """An entry, and how far its numbers are from what was seen in the first call that is off.

    `fits` if that is no more than rounding; then other calls speak against it.
    """

    mistake: Mistake
    gap: float
    fits: bool = False


@dataclass(frozen=True)
class Finding:
    """What the numbers say.

    `named` holds every explanation of all that was seen, each one mistake or several. `nearest`
    are the entries nearest to the first call that is off, when nothing is named. `gap` is how far
    the named ones are from what was seen, at most, and `next_gap` how far the nearest other entry
    is. `tried` counts the entries, `pairs` the pairs that were run.
    """

    named: tuple[Set, ...] = ()
    nearest: tuple[Nearest, ...] = ()
    gap: float = np.nan
    next_gap: float = np.nan
    tried: int = 0
    pairs: int = 0
    calls: int = 0
    out_of_time: bool = False


@dataclass
class _Search:
    sessions: Sequence[Session]
    deadline: float
    given: Set = ()
    distances: dict[str, float] = field(default_factory=dict)
    harmless: set[str] = field(default_factory=set)
    pairs: int = 0
    out_of_time: bool = False

    def late(self) -> bool:
        self.out_of_time = self.out_of_time or time.process_time() > self.deadline
        return self.out_of_time


def find_mistake(sessions: Sequence[Session], *, seconds: float = 8.0, given: Set = ()) -> Finding:
    """Look for the mistake that explains everything seen, within `seconds` of the processor's time.

    At least one session must have a call that is off. `given` are mistakes known already, beside
    which another is looked for.
    """
    taken = {mistake.key for mistake in given}
    entries = tuple(mistake for key, mistake in CATALOGUE.items() if key not in taken)
    ordered = sorted(sessions, key=_whole_cost)
    search = _Search(ordered, time.process_time() + seconds, given)
    start = _cheapest_wrong(search.sessions)
    calls = sum(len(session.observed) for session in sessions)
    begun = [(m,) for m in entries if not search.late() and _explains_start(search, start, m)]
    found = _grown(search, begun, entries)
    if not found and not search.late():
        found = _grown(search, _pairs(search, start, entries), entries)
    result = Finding(
        named=tuple(trial.group for trial in found),
        gap=max((trial.gap for trial in found), default=np.nan),
        tried=len(entries),
        pairs=search.pairs,
        calls=calls,
        out_of_time=search.out_of_time and not found,
    )
    inside = {mistake.key for trial in found for mistake in trial.group}
    others = sorted(
        (gap, key)
        for key, gap in search.distances.items()
        if key not in inside and key not in search.harmless
    )
    bound = start[0].observed[start[1]].tolerance
    near = tuple(
        Nearest(CATALOGUE[k], g, g <= bound)
        for g, k in others[:3]
        if np.isfinite(g) and k in CATALOGUE
    )
    return replace(result, nearest=near, next_gap=others[0][0] if others else np.nan)


def narrowed(finding: Finding, sessions: Sequence[Session]) -> Finding | None:
    """The explanations that hold for further sessions, too; None if none does."""
    search = _Search(sessions, np.inf)
    held = tuple(g for g in finding.named if _tried(search, g).stuck is None)
    if not held:
        return None
    calls = finding.calls + sum(len(session.observed) for session in sessions)
    return replace(finding, named=held, calls=calls)


def _whole_cost(session: Session) -> int:
    return session.cost_to(len(session.observed) - 1)


def _cheapest_wrong(sessions: Sequence[Session]) -> tuple[Session, int]:
    wrong = [(s, i) for s in sessions if (i := s.first_wrong()) is not None]
    return min(wrong, key=lambda found: found[0].cost_to(found[1]))


def _gap(seen: Observed, logits: np.ndarray) -> float:
    if not logits.size:
        return np.inf
    gap = seen.answer.gap(logits)
    return np.inf if np.isnan(gap) else gap


def _room(seen: Observed, logits: np.ndarray, loose: float) -> float:
    """How far a mistake's numbers may be off: more where they are larger than the right ones."""
    finite = logits.size > 0 and bool(np.isfinite(logits).all())
    largest = float(np.abs(logits).max()) if finite else 0.0
    larger = max(1.0, largest / max(float(np.abs(seen.want).max()), 1e-6))
    bound = seen.tolerance * larger
    if seen.right or not np.isfinite(seen.gap):
        return bound * loose
    room = max(bound, min(ROUNDING * loose * bound, seen.gap / CLEARLY), seen.gap / CHAOS)
    # Logits that are all 0 are near to whatever makes logits small.
    return min(room, seen.answer.spread / DETAIL)


def _fits(seen: Observed, logits: np.ndarray, loose: float) -> bool:
    return _gap(seen, logits) <= _room(seen, logits, loose)


def _run(session: Session, parts: Parts, stop: int) -> Iterator[tuple[Observed, np.ndarray]]:
    """The calls up to `stop`, and the logits of an engine made of these parts.

    A mistake that cannot be made with this model (a matrix that does not fit the other way around)
    gives no logits from there on: an empty array, which explains nothing.
    """
    engine = None
    for seen in session.observed[:stop]:
        try:
            engine = PartsEngine(session.model, parts) if engine is None else engine
            logits = engine.forward(seen.call.ids, seen.call.past)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            logits = NO_LOGITS
        yield seen, logits


def _loose(group: Set) -> float:
    return max(mistake.loose for mistake in group)


def _rounds(group: Set) -> bool:
    """Whether one of several rounds on purpose.

    Its room is wide enough to hide what another one leaves unexplained: no group has one.
    """
    return _loose(group) > 1


def _parts(search: _Search, group: Set) -> Parts | None:
    return combined([mistake.change for mistake in (*search.given, *group)])


def _explains_start(search: _Search, start: tuple[Session, int], mistake: Mistake) -> bool:
    """Whether an entry explains a session up to its first call that is off; notes its distance.

    One that is off where the engine is right cannot be it, and need not be run any further.
    """
    session, index = start
    parts = _parts(search, (mistake,))
    if parts is None:
        return False
    harmless = True
    for seen, logits in _run(session, parts, index + 1):
        fits = _fits(seen, logits, mistake.loose)
        harmless = harmless and _is_right(seen, logits)
        if seen is session.observed[index]:
            search.distances[mistake.key] = _gap(seen, logits)
        if not fits:
            break
    else:
        return True
    if harmless:
        search.harmless.add(mistake.key)
    return False


def _is_right(seen: Observed, logits: np.ndarray) -> bool:
    if not logits.size or not np.isfinite(logits).all():
        return False
    return bool(np.abs(logits - seen.want).max() <= seen.tolerance)


@dataclass(frozen=True)
class _Trial:
    """A group of mistakes, run against everything seen.

    `stuck` is the first call it does not explain; `clear` says whether some call is much nearer to
    it than to what is right, `gap` how far it is from what was off.
    """

    group: Set
    stuck: tuple[Session, int] | None
    clear: bool
    gap: float

    @property
    def explains(self) -> bool:
        return self.stuck is None and self.clear


def _tried(search: _Search, group: Set) -> _Trial:
    parts, clear, largest = _parts(search, group), False, 0.0
    assert parts is not None
    for session in search.sessions:
        for i, (seen, logits) in enumerate(_run(session, parts, len(session.observed))):
            if not _fits(seen, logits, _loose(group)):
                return _Trial(group, (session, i), clear, largest)
            if not seen.right and np.isfinite(seen.gap):
                gap = _gap(seen, logits)
                clear = clear or gap * CLEARLY <= seen.gap
                largest = max(largest, gap)
    return _Trial(group, None, clear or _has_pattern(search.sessions), largest)


def _has_pattern(sessions: Sequence[Session]) -> bool:
    """Whether some calls are right and others not finite, which is something to be explained.

    An engine that answers nothing but NaN may have any mistake that ends so.
    """
    seen = [one for session in sessions for one in session.observed]
    nothing = any(isinstance(one.answer, Nothing) for one in seen)
    return nothing and any(one.right and not isinstance(one.answer, Unseen) for one in seen)


def _explains_to(search: _Search, group: Set, session: Session, index: int) -> bool:
    parts = _parts(search, group)
    if parts is None:
        return False
    return all(_fits(seen, out, _loose(group)) for seen, out in _run(session, parts, index + 1))


def _grown(search: _Search, groups: Sequence[Set], entries: Sequence[Mistake]) -> list[_Trial]:
    """The groups that explain everything, enlarged by further mistakes where one is not enough."""
    groups = list(groups)[:MOST_KEPT]
    while groups and len(groups[0]) <= MOST_TOGETHER:
        trials = [_tried(search, group) for group in groups]
        if whole := [trial for trial in trials if trial.explains]:
            return whole
        larger: list[Set] = []
        for trial in trials:
            if trial.stuck is not None and not search.late():
                larger += _enlarged(search, trial.group, trial.stuck, entries)
        groups = larger[:MOST_KEPT]
    return []


def _enlarged(
    search: _Search, group: Set, where: tuple[Session, int], entries: Sequence[Mistake]
) -> list[Set]:
    """The group with one more mistake, wherever that explains the call it was stuck at."""
    larger = []
    for mistake in entries:
        if search.late():
            break
        if mistake not in group and not _rounds((*group, mistake)):
            search.pairs += 1
            if _explains_to(search, (*group, mistake), *where):
                larger.append((*group, mistake))
    return larger


def _pairs(search: _Search, start: tuple[Session, int], entries: Sequence[Mistake]) -> list[Set]:
    """Every pair that explains the first call that is off, as far as time allows."""
    session, index = start
    # Each of two has to leave alone what is right before that call, and to change the call.
    visible = [m for m in entries if m.key in search.distances and m.key not in search.harmless]
    visible = [m for m in visible if not _rounds((m,))]
    visible.sort(key=lambda m: search.distances[m.key])
    found: list[Set] = []
    for later, second in enumerate(visible):
        for first in visible[:later]:
            if search.late() or len(found) >= MOST_KEPT:
                return found
            search.pairs += 1
            if _explains_to(search, (first, second), session, index):
                found.append((first, second))
    return found
