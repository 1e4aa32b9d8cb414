"""Strings that know who wrote each character: nothing a template does makes them forget.

Two things are held for whatever Jinja can do to a string. The result is the one that plain strings
give. And a character that came out of a message is never taken for the template's: messages here
are of letters that no template has.
"""

from functools import cache

import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llama_edu.chat.provenance import (
    REWORKED,
    TEMPLATE,
    ProvenanceEnvironment,
    Text,
    joined,
    sources_of,
)

SAID = "Ωλ ж\nЖß <ώ> ωωω ж"  # by a person, and by nobody else
# Templates over `c`, what was said, `d`, some more of it, and `r`, a word of the template's own.
# These move characters about, and each is followed.
FOLLOWED = [
    "{{ c }}", "{{ c ~ 'x' ~ d }}", "{{ 'x' + c + r }}", "{{ c + d }}", "{{ c * 2 }}{{ 2 * c }}",
    "{{ c[1:] }}{{ c[::-1] }}{{ c[0] }}{{ c[-1] }}", "{{ c[2:5] }}", "{{ '<%s|%s>' % (c, r) }}",
    "{{ 'x%%%5s' % c }}", "{{ '%(a)s-%(b)d' % {'a': c, 'b': 7} }}", "{{ c % () }}",
    "{{ '%s%%%5s' % (7, c) }}", "{{ c | replace('ω', 'y', 1) }}",
    "{{ c | replace('ω', 1) | replace(1, 2) }}",
    "{{ c.partition('Ω')[2] }}{{ c.rpartition('Ω')[0] }}",
    "{{ '{a}{0}{b[0]}'.format(r, a=c, b=[d]) }}", "{{ 'x{a}'.format_map({'a': c}) }}",
    "{{ c.split() | join('-') }}", "{{ c.split('ж') | join(r) }}", "{{ c.rsplit(none, 1)[1] }}",
    "{{ c.split(' ', 1)[1] }}", "{{ c.rsplit('ω', 2) | last }}", "{{ c.splitlines()[1] }}",
    "{{ c.splitlines(true) | join }}", "{{ c.partition('<')[2] }}{{ c.rpartition('ж')[0] }}",
    "{{ c.partition('absent')[0] }}{{ c.rpartition('absent')[2] }}", "{{ c.strip('Ωж') }}",
    "{{ (' ' + c + ' ').strip() }}", "{{ c.lstrip('Ω') }}{{ c.rstrip('ж ω') }}",
    "{{ c.removeprefix('Ω') }}{{ c.removesuffix('ж') }}", "{{ c.replace('ω', r) }}",
    "{{ c.replace('ω', d, 1) }}", "{{ r.replace('w', c) }}",
    "{{ c.upper() }}{{ c.lower() }}{{ c.title() }}{{ c.capitalize() }}{{ c.swapcase() }}",
    "{{ c.casefold() }}", "{{ ', '.join([c, r, d]) }}", "{{ c.join([r, r]) }}",
    "{{ c | trim }}{{ c | upper }}{{ c | capitalize }}{{ c | lower }}",
    "{{ c | first }}{{ c | last }}{{ c | reverse }}{{ c | list | join('/') }}",
    "{{ [c, d] | join }}{{ [c, r] | join(d) }}{{ [{'a': c}] | join(attribute='a') }}",
    "{{ c | replace('ω', 'y') }}{{ r | replace('w', c) }}", "{{ c | string }}",
    "{{ c | default(r) }}{{ none | default(c, true) }}", "{{ '%s' | format(c) }}", "{{ c | safe }}",
    "{{ '%(a)s' | format(a=c) }}", "{{ [c, d] | map('upper') | join }}",
    "{{ [c, d] | map('replace', 'ω', r) | list | join }}",
    "{{ [c, d] | sort | join }}{{ [c, c] | unique | join }}{{ [c] | batch(1) | first | first }}",
    "{{ [c, d] | max }}{{ [{'k': c}] | map(attribute='k') | first }}",
    "{% for x in c %}{{ loop.index }}{{ x }}{% endfor %}", "{% set x = c %}{{ x }}",
    "{% set x %}<{{ c }}>{% endset %}{{ x ~ x }}", "{% filter upper %}a{{ c }}{% endfilter %}",
    "{% macro f(x, y='') %}({{ x }}{{ y }}{{ caller() if caller }}){% endmacro %}{{ f(c, d) }}"
    "{% call f(c) %}{{ d }}{% endcall %}",
    "{% set n = namespace(a=c) %}{% set n.a = n.a + r %}{{ n.a }}{{ n.a | length }}",
    "{{ dict(a=c).a }}{{ cycler(c, d).next() }}{{ joiner(c)() }}", "{{ c if 'ж' in c else r }}",
    "{{ ('x' ~ c) | attr('upper')() }}{{ c['upper']() }}", "{{ 'a'.__add__ is defined }}",
]  # fmt: skip
# Of what these make, it is only known whether anything in it was said.
REWORKING = [
    "{{ '%.2s' % c }}{{ '%r' % c }}", "{{ '%s' % [c] }}", "{{ '%40s' % c }}",
    "{{ '%*s' % (9, c) }}", "{{ r.replace('', c, 2) }}", "{{ r.translate({119: c}) }}",
    "{{ r.center(9, c[0]) }}", "{{ r.ljust(9, c[0]) }}", "{{ r.rjust(9, c[0]) }}",
    "{{ 'a\\nb' | indent(width=c) }}",
    "{{ '{}:{!r}:{:>30}'.format(c, c, c) }}", "{{ '{:{}}'.format(c, 30) }}", "{{ c.format(1) }}",
    "{{ c.replace('', '.') }}", "{{ c.center(40, '*') }}{{ c.ljust(40) }}{{ c.rjust(40) }}",
    "{{ c.zfill(40) }}", "{{ ('a\\tb' ~ c).expandtabs(4) }}",
    "{{ c.replace('ω', '\\t').expandtabs() }}",
    "{{ c.translate({937: 'Q'}) }}", "{{ c.encode('utf-8').decode('utf-8') }}", "{{ c | indent }}",
    "{{ c | center(40) }}", "{{ c | truncate(8, true, r, 0) }}", "{{ c | wordwrap(3) }}",
    "{{ c | e | string }}", "{{ c | tojson }}", "{{ [c] }}", "{{ {'a': c, d: 1} }}",
    "{{ {c: 1} | string }}", "{{ (c, 1) | pprint }}", "{{ c | urlencode }}",
    "{{ {'a': c} | dictsort | string }}{{ {'a': c} | items | list }}", "{{ c | striptags }}",
    "{{ {'a': c} | xmlattr }}", "{{ c | title }}",
]  # fmt: skip
TEMPLATES = FOLLOWED + REWORKING


@cache
def compiled(source: str, text: type) -> jinja2.Template:
    environment = (ProvenanceEnvironment if text is Text else ImmutableSandboxedEnvironment)()
    return environment.from_string(source)


def render(source: str, text: type, said: str, more: str) -> str:
    """With plain strings by Jinja's own sandbox, with `Text` by ours."""
    first = len(said) + 2
    c, d = (said, more) if text is str else (Text.said(said, 1), Text.said(more, first))
    return compiled(source, text).render(c=c, d=d, r="word")


@pytest.mark.parametrize("source", TEMPLATES)
@settings(max_examples=10)
@given(more=st.text(st.sampled_from("αβγ \n"), max_size=4))
@example(more="")
def test_whatever_a_template_does(source: str, more: str) -> None:
    try:
        plain = render(source, str, SAID, more)
    except (TypeError, jinja2.TemplateError) as problem:
        with pytest.raises(type(problem)):
            render(source, Text, SAID, more)
        return
    marked = render(source, Text, SAID, more)
    assert marked == plain
    everything = SAID + " " + more
    for char, source_of in zip(marked, sources_of(marked), strict=True):
        if source_of > 0:
            assert everything[source_of - 1].lower()[:1] == char.lower()[:1]
        elif source_of == TEMPLATE:
            assert char.isascii(), f"{char!r} was said"
        else:
            assert source_of == REWORKED


@pytest.mark.parametrize("source", FOLLOWED)
def test_what_is_moved_about_is_followed_letter_by_letter(source: str) -> None:
    said, more = "αλ\u2003βж\u2028γωδ", "θ\u2002ι"  # no letter twice
    everything = said + "\0" + more
    marked = render(source, Text, said, more)
    for char, source_of in zip(marked, sources_of(marked), strict=True):
        assert source_of == everything.find(char.lower()) + 1, char


@pytest.mark.parametrize("source", TEMPLATES)
def test_where_nobody_said_anything_all_of_it_is_the_templates(source: str) -> None:
    """A control token that the template made in a roundabout way would be spelled out."""
    marked = compiled(source, Text).render(c=SAID, d=" αβ", r="word")
    through_bytes = ".decode" in source  # of which nobody knows
    assert any(sources_of(marked)) == through_bytes


def test_every_method_of_a_string_that_gives_text_is_followed() -> None:
    """A method that Python adds one day, and that nobody thought of, is found here."""
    said = Text.said("ab c", 1)
    arguments = {
        "center": [9], "ljust": [9], "rjust": [9], "zfill": [9], "removeprefix": ["a"],
        "removesuffix": ["c"], "replace": ["a", "x"], "partition": ["b"], "rpartition": ["b"],
        "translate": [{}], "join": [["x", "y"]], "format_map": [{}], "__add__": ["x"],
        "__getitem__": [0], "__mod__": [()], "__mul__": [2], "__rmul__": [2], "__format__": [""],
    }  # fmt: skip
    exempt = {"__repr__", "__getattribute__", "__new__", "__doc__", "__getnewargs__", "__rmod__"}
    for name in vars(str).keys() - exempt:
        method = getattr(said, name)
        try:
            result = method(*arguments.get(name, []))
        except TypeError:
            continue  # takes something else, such as two strings to compare
        results = result if isinstance(result, list | tuple) else [result]
        for each in results:
            assert not isinstance(each, str) or isinstance(each, Text), name
        if name not in ("index", "find"):
            assert any(any(sources_of(e)) for e in results if isinstance(e, str)) or not any(
                isinstance(e, str) and e for e in results
            ), name


class TestText:
    def test_is_the_string_it_looks_like(self) -> None:
        said = Text.said("ab", 1)
        assert said == "ab"
        assert {said: 1}["ab"] == 1
        assert "a" in said
        assert f"{said}|{said!s}" == "ab|ab"

    def test_what_is_joined_keeps_its_sources(self) -> None:
        both = joined(["x", Text.said("ab", 5), Text.reworked("z")])
        assert list(sources_of(both)) == [TEMPLATE, 5, 6, REWORKED]
        assert list(sources_of("x" + both)) == [TEMPLATE, *sources_of(both)]

    def test_what_is_no_string_does_not_join(self) -> None:
        said = Text.said("ab", 1)
        for wrong in (lambda: said + 1, lambda: 1 + said, lambda: said.join(["a", 1])):  # type: ignore[list-item]
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(TypeError, match="item 1: expected str instance, int found"):
            said.join(["a", 1])  # type: ignore[list-item]

    def test_a_format_is_reworked_if_anything_in_it_was_said(self) -> None:
        said = Text.said("ab", 1)
        for made in (
            Text("{}").format(said),
            Text("{a}").format(a=said),
            Text("{a}").format_map({"a": said}),
            Text.said("{}", 1).format("x"),
        ):
            assert set(sources_of(made)) == {REWORKED}
        assert set(sources_of(Text("{}{a}").format("x", a="y"))) == {TEMPLATE}

    @pytest.mark.parametrize("method", ["split", "rsplit", "partition", "rpartition"])
    @pytest.mark.parametrize("sep", ["a", "b", "c", "abc", "d"])
    def test_what_is_looked_for_may_stand_at_either_end(self, method: str, sep: str) -> None:
        pieces = getattr(Text.said("abc", 1), method)(sep)
        assert list(map(str.__str__, pieces)) == list(getattr("abc", method)(sep))
        assert {source for piece in pieces for source in sources_of(piece)} <= {1, 2, 3}

    @pytest.mark.parametrize("method", ["split", "rsplit", "partition", "rpartition"])
    def test_nothing_cannot_be_looked_for(self, method: str) -> None:
        with pytest.raises(ValueError, match="empty separator"):
            getattr(Text.said("ab", 1), method)("")

    def test_letters_that_grow_count_as_reworked(self) -> None:
        assert list(sources_of(Text.said("aß", 1).upper())) == [REWORKED] * 3
        assert list(sources_of(Text.said("ab", 1).upper())) == [1, 2]
        assert list(sources_of(Text("aß").upper())) == [TEMPLATE] * 3


def test_a_field_of_a_format_may_begin_with_what_it_looks_up() -> None:
    """As `str.format` has it; Jinja's sandbox has it where Python's `string.Formatter` does."""
    assert compiled("{{ '{[0]}{.a}{}'.format([1], {'a': 2}, 3) }}", Text).render() == "123"


def test_a_template_cannot_ask_for_the_sources() -> None:
    for source in ("{{ c._sources }}", "{{ c['_sources'] }}"):
        assert render(source, Text, SAID, "") == ""
    for source in ("{{ c.__class__.said }}", "{{ c._sources[0] }}", "{{ c._whole('x') }}"):
        with pytest.raises(jinja2.exceptions.SecurityError):
            render(source, Text, SAID, "")
