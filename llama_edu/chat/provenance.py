"""Strings that know who wrote each of their characters, and Jinja that keeps track.

A chat template must see what people said as it is, since many decide by it: is there a `</think>`
to cut off? Afterwards we must know which characters of the rendered text came from the template
and which from a message, since only a template may write a control token. So messages go in as
`Text`, a `str` that answers every question as a plain one would, and whose slices, pieces and
joins remember where each character is from (the idea is Perl's and Ruby's taint mode, by
character). `ProvenanceEnvironment` is Jinja's sandbox in which nothing loses that memory.

What cannot be followed exactly (JSON, `center`, a list that is printed) counts as written by
people from its first to its last character: too much is then spelled out, never too little.
"""

import functools
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

import jinja2
import jinja2.compiler
import jinja2.filters
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

__all__ = ["REWORKED", "TEMPLATE", "ProvenanceEnvironment", "Text", "joined"]

TEMPLATE = 0  # the template wrote this character
REWORKED = -1  # made of what people wrote, in a way that is not followed

# Filters that only call methods of a string, or hand on what they are given.
FOLLOWED = {
    "trim", "upper", "lower", "capitalize", "default", "d", "first", "last", "random", "min", "max",
    "reverse", "attr",
}  # fmt: skip

CONVERSION = re.compile(r"%(?:\((?P<name>\w+)\))?[#0\- +]*\d*(?:\.\d+)?(?P<kind>[a-zA-Z%])")


class Text(str):
    """A string with a source for each character: `TEMPLATE`, `REWORKED`, or a position from 1 on.

    `sources` has one number a character; left out, the template wrote all of them.
    """

    _sources: "array[int]"

    def __new__(cls, text: str, sources: "array[int] | None" = None) -> "Text":
        made = super().__new__(cls, text)
        made._sources = _all(TEMPLATE, len(made)) if sources is None else sources
        return made

    @classmethod
    def said(cls, text: str, first: int) -> "Text":
        """What somebody wrote, its characters numbered from `first` on."""
        return cls(text, array("q", range(first, first + len(text))))

    @classmethod
    def reworked(cls, text: str) -> "Text":
        """Text made of what people wrote, from its first to its last character."""
        return cls(text, _all(REWORKED, len(text)))

    # Public names would be attributes that templates see, so the sources are read by functions.

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> "Text":
        return joined((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> "Text":
        return joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> "Text":
        return Text(super().__mul__(count), self._sources * int(count))

    __rmul__ = __mul__

    def __getitem__(self, key: SupportsIndex | slice) -> "Text":
        at = self._sources[key]
        return Text(super().__getitem__(key), at if isinstance(at, array) else array("q", [at]))

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __mod__(self, values: Any) -> "Text":
        return _percent(self, values)

    def __rmod__(self, form: str) -> "Text":
        return _percent(form, self)

    def __format__(self, spec: str) -> str:
        return self if not spec else self._whole(super().__format__(spec))

    def join(self, pieces: Iterable[str]) -> "Text":
        listed = list(pieces)
        if not all(isinstance(piece, str) for piece in listed):
            "".join(listed)  # says which one is no string
        return joined(
            part for i, piece in enumerate(listed) for part in ((self, piece) if i else (piece,))
        )

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list["Text"]:  # type: ignore[override]
        return self._found(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list["Text"]:  # type: ignore[override]
        return self._found(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list["Text"]:  # type: ignore[override]
        found, start = [], 0
        for line, whole in zip(
            super().splitlines(keepends), super().splitlines(keepends=True), strict=True
        ):
            found.append(self[start : start + len(line)])
            start += len(whole)
        return found

    def partition(self, sep: str) -> tuple["Text", "Text", "Text"]:
        at = self.find(sep)
        cut, end = (len(self), len(self)) if at < 0 else (at, at + len(sep))
        super().partition(sep)  # refuses an empty one
        return self[:cut], self[cut:end], self[end:]

    def rpartition(self, sep: str) -> tuple["Text", "Text", "Text"]:
        at = self.rfind(sep)
        cut, end = (0, 0) if at < 0 else (at, at + len(sep))
        super().rpartition(sep)
        return self[:cut], self[cut:end], self[end:]

    def strip(self, chars: str | None = None) -> "Text":
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None) -> "Text":
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None) -> "Text":
        return self[: len(super().rstrip(chars))]

    def removeprefix(self, prefix: str) -> "Text":
        return self[len(self) - len(super().removeprefix(prefix)) :]

    def removesuffix(self, suffix: str) -> "Text":
        return self[: len(super().removesuffix(suffix))]

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> "Text":
        if not old:
            return self._whole(super().replace(old, new, count), new)
        return joined((new,)).join(self.split(old, count))

    def upper(self) -> "Text":
        return self._respelled(super().upper())

    def lower(self) -> "Text":
        return self._respelled(super().lower())

    def casefold(self) -> "Text":
        return self._respelled(super().casefold())

    def swapcase(self) -> "Text":
        return self._respelled(super().swapcase())

    def title(self) -> "Text":
        return self._respelled(super().title())

    def capitalize(self) -> "Text":
        return self._respelled(super().capitalize())

    def center(self, width: SupportsIndex, fill: str = " ") -> "Text":
        return self._whole(super().center(width, fill), fill)

    def ljust(self, width: SupportsIndex, fill: str = " ") -> "Text":
        return self._whole(super().ljust(width, fill), fill)

    def rjust(self, width: SupportsIndex, fill: str = " ") -> "Text":
        return self._whole(super().rjust(width, fill), fill)

    def zfill(self, width: SupportsIndex) -> "Text":
        return self._whole(super().zfill(width))

    def expandtabs(self, tabsize: SupportsIndex = 8) -> "Text":
        return self._whole(super().expandtabs(tabsize))

    def translate(self, table: Any) -> "Text":
        return self._whole(super().translate(table), table)

    def format(self, *args: Any, **kwargs: Any) -> "Text":
        return self._whole(super().format(*args, **kwargs), args, kwargs)

    def format_map(self, mapping: Any) -> "Text":
        return self._whole(super().format_map(mapping), mapping)

    def _found(self, pieces: list[str], sep: str | None) -> list["Text"]:
        """The pieces of a split as slices of this string."""
        found, start = [], 0
        for piece in pieces:
            if sep is None:
                start = self.find(piece, start)
            found.append(self[start : start + len(piece)])
            start += len(piece) + len(sep or "")
        return found

    def _respelled(self, text: str) -> "Text":
        """Other letters in the same places; a letter that becomes two moves all places."""
        return Text(text, self._sources) if len(text) == len(self) else self._whole(text)

    def _whole(self, text: str, *others: Any) -> "Text":
        """A result that is not followed character by character."""
        said = _is_said(self) or any(map(_is_said, others))
        return Text.reworked(text) if said else Text(text)


def joined(pieces: Iterable[str]) -> Text:
    """Strings one behind the other; those that are no `Text` are the template's."""
    listed = list(pieces)
    sources = array("q")
    for piece in listed:
        sources += sources_of(piece)
    return Text("".join(listed), sources)


def sources_of(text: str) -> "array[int]":
    """Where each character of a string is from."""
    return text._sources if isinstance(text, Text) else _all(TEMPLATE, len(text))


def _all(source: int, length: int) -> "array[int]":
    return array("q", [source]) * length


def _is_said(value: Any) -> bool:
    """Whether text made of this value could hold what people wrote. When in doubt, it could."""
    if isinstance(value, Text):
        return any(value._sources)
    if value is None or isinstance(value, str | bool | int | float | jinja2.Undefined):
        return False
    if isinstance(value, Mapping):
        return any(map(_is_said, value)) or any(map(_is_said, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_is_said, value))
    return True  # bytes, a namespace, a generator


def _percent(form: str, values: Any) -> Text:
    """`form % values`, each `%s` with the sources of what it stands for."""
    plain = str.__mod__(form, values)
    if isinstance(values, Mapping):
        given: Iterator[Any] = iter(())
    else:
        given = iter(values if isinstance(values, tuple) else (values,))
    form = joined((form,))
    pieces: list[str] = []
    start = 0
    for found in CONVERSION.finditer(form):
        pieces.append(form[start : found.start()])
        start = found.end()
        if found["kind"] == "%":
            pieces.append("%")
            continue
        value = values[found["name"]] if found["name"] else next(given)
        alone = {found["name"]: value} if found["name"] else (value,)
        text = str.__mod__(str(found[0]), alone)
        if found[0].endswith("s") and isinstance(value, str) and text == value:
            pieces.append(value)
        else:
            pieces.append(Text.reworked(text) if _is_said(value) else text)
    result = joined((*pieces, form[start:]))
    # A width given as `*` takes a value of its own, which is not followed here.
    return result if result == plain else form._whole(plain, values)


class _Formatter(SandboxedFormatter):
    """`str.format` over `Text`, with the sandbox's rules on attributes."""

    def vformat(self, form: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Text:
        fields = list(self.parse(str(form)))
        if _is_said(form) or any("{" in (spec or "") for _, _, spec, _ in fields):
            plain = super().vformat(form, args, kwargs)
            return joined((form,))._whole(plain, args, kwargs)
        pieces: list[str] = []
        counter = 0
        for literal, field, spec, conversion in fields:
            pieces.append(literal)
            if field is None:
                continue
            if not field or field[0] in ".[":
                field, counter = f"{counter}{field}", counter + 1
            value, _ = self.get_field(field, args, kwargs)
            said = _is_said(value)
            if conversion:
                value = self.convert_field(value, conversion)
            text = self.format_field(value, spec or "")
            followed = isinstance(text, Text) or not said
            pieces.append(text if followed else Text.reworked(text))
        return joined(pieces)


class _CodeGenerator(jinja2.compiler.CodeGenerator):
    """Jinja's compiler, whose `~` joins as the environment does."""

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Any) -> None:  # noqa: N802, Jinja's
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("environment.finalize(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")


class ProvenanceEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which strings stay `Text` whatever a template does to them.

    Every way from values to text goes through here: methods and formats of strings, operators
    (`Text` has its own), filters, calls, and what is printed.
    """

    code_generator_class = _CodeGenerator
    concat = staticmethod(joined)
    intercepted_binops = frozenset(["%"])  # of a tuple, which would not ask `Text`

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_printed, **options)
        self.filters = {
            name: filter_ if name in FOLLOWED else _following(filter_)
            for name, filter_ in self.filters.items()
        }
        self.filters |= {
            "join": _join,
            "format": _format,
            "replace": _replace,
            "safe": lambda text: text,
            "string": _printed,
        }

    def add_filter(self, name: str, filter_: Callable[..., Any]) -> None:
        """A filter of one's own. Plain text that it makes of what people said counts as theirs."""
        self.filters[name] = _following(filter_)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        return _percent(left, right) if isinstance(left, str) else left % right

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(joined((obj,)) if type(obj) is str else obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return super().getitem(joined((obj,)) if type(obj) is str else obj, argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        owner = getattr(value, "__self__", None)
        name = getattr(value, "__name__", "")
        if not isinstance(owner, str) or name not in ("format", "format_map"):
            return None
        formatter = _Formatter(self)
        if name == "format":
            return lambda *args, **kwargs: formatter.vformat(owner, args, kwargs)
        return lambda mapping: formatter.vformat(owner, (), mapping)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        result = super().call(__context, __obj, *args, **kwargs)
        if type(result) is not str:
            return result
        owner = getattr(__obj, "__self__", None)
        given = (*args, *kwargs.values(), owner if isinstance(owner, bytes) else None)
        return Text.reworked(result) if any(map(_is_said, given)) else result


def _printed(value: Any) -> str:
    """What `{{ value }}` writes."""
    if isinstance(value, str):
        return value
    return Text.reworked(str(value)) if _is_said(value) else str(value)


def _following(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose text, if it may hold what people said, counts as theirs."""
    n_passed = int(hasattr(filter_, "jinja_pass_arg"))  # the context or the environment

    @functools.wraps(filter_)
    def following(*args: Any, **kwargs: Any) -> Any:
        result = filter_(*args, **kwargs)
        if not isinstance(result, str):
            return result
        said = any(map(_is_said, (result, *args[n_passed:], *kwargs.values())))
        return Text.reworked(str(result)) if said else result

    return following


def _replace(value: Any, old: str, new: str, count: int | None = None) -> Text:
    text = joined((_printed(value),))
    return text.replace(_printed(old), _printed(new), -1 if count is None else count)


@jinja2.pass_environment
def _join(
    environment: jinja2.Environment,
    value: Iterable[Any],
    d: str = "",
    attribute: str | int | None = None,
) -> Text:
    if attribute is not None:
        value = map(jinja2.filters.make_attrgetter(environment, attribute), value)
    return joined((_printed(d),)).join(map(_printed, value))


def _format(value: Any, *args: Any, **kwargs: Any) -> Text:
    if args and kwargs:
        raise jinja2.exceptions.FilterArgumentError("expected values or names, got both")
    return _percent(_printed(value), kwargs or args)
