"""What one visitor sends costs the others nothing: hostile paths and pages, by how the time grows with the length."""
from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from nbws.core.errors import PatternError
from nbws.layers.importmaps import import_map
from nbws.layers.prefix import mend_field
from nbws.layers.rewriting import Rewriter
from nbws.layers.styles import Styles
from nbws.core.routing import SeveralPattern, parse_pattern


def grows(work: Callable[[int], object], size: int) -> float:
    """How many times longer eight times the size takes: 8 where time is linear, 64 where it is quadratic.

    CPU time of this thread, the least of up to eight rounds: what shares the core makes caches cold."""
    def cost(n: int) -> float:
        begun = time.thread_time()
        work(n)
        return time.thread_time() - begun
    short = long = float('inf')
    for n in range(8):
        short, long = min(short, max(cost(size), 1e-4)), min(long, cost(8 * size))
        if n and long / short < LINEAR: break
    return long / short


LINEAR = 24


PATHS = [
    ('/{y}-{m}-{d}.html', '-', ''), ('/{y}-{m}-{d}.html', '-', '/.html'), ('/{y}-{m}-{d}.html', '-', '.htm'),
    ('/{a}{b}', 'a', '/'), ('/{a}{b}{c}x', 'a', '/x'), ('/{a}.{b}.{c}.{d}', '.', '/'),
    ('/{a:path}/x/{b:path}/y', '/x', '/'), ('/{a:path}/x/{b:path}/y/{c:int}', '/x/y', '/'),
    ('/{a:path}{b:path}{c:path}z', '/x', 'y'), ('/{a:path}-{b}.x', '-', '/.x'),
    ('/{a:int}{b:int}{c:int}', '1', 'x'), ('/{a}1{b:int}1{c:int}z', '1', '/z'), ('/{a:float}{b:float}x', '1', '/x'),
    ('/{a:float}.{b:float}.x', '1.', '/.x'), ('/{a}-{b:uuid}-{c}', '-1', '/'), ('/{a}.{b:static}.{c}', '.js', '/'),
    # Those that a regular expression alone may do
    ('/{a}', 'a', '/'), ('/{a}.html', '.', '.htm'), ('/{a:path}.{b:static}', '.j', ''), ('/x/{a}/y/{b}/z', '/', ''),
    ('/{a:path}/{b:int}/e', '/1', ''), ('/{a:float}x', '1', ''), ('/{a}-{b:uuid}', '-1', ''),
    ('/{a:path}/{b}/{c}.x', '/a', ''),
]


@pytest.mark.parametrize(('pattern', 'unit', 'end'), PATHS)
def test_a_path_is_matched_in_linear_time(pattern: str, unit: str, end: str) -> None:
    parsed = parse_pattern(pattern)
    def match(n: int) -> None: assert parsed.match('/' + unit * (n // len(unit)) + end) is None
    assert grows(match, 1000) < LINEAR


def test_many_patterns_cost_little_where_a_path_has_not_their_texts() -> None:
    "An app may have a hundred of them; each would take some milliseconds for a long path."
    path = '/' + 'z/' * 3000 + 'y/x/' # A last part with a slash in it
    def cost(*texts: str) -> float:
        patterns = [parse_pattern(f'/{{a:path}}/{text}/{{b:path}}/y/{{c}}') for text in texts]
        begun = time.thread_time()
        for _ in range(3):
            for p in patterns: assert p.match(path) is None
        return time.thread_time() - begun
    assert cost(*(f'z{n}' for n in range(100))) < 20 * cost('z')
    assert parse_pattern('/{a:path}/z1/{b:path}/y/{c}').match(f'{path}z1{path[:-2]}c') is not None


def test_patterns_of_several_parameters_find_what_their_regular_expression_does() -> None:
    rng, seen, matched = random.Random(3), 0, 0
    def some(of: str, least: int = 1) -> str: return ''.join(rng.choices(of, k=rng.randint(least, 4)))
    texts: dict[str, Callable[[], str]] = {
        '': lambda: some('a1-.js'), 'int': lambda: some('12'), 'path': lambda: some('a/1-x', 0),
        'float': lambda: rng.choice(['1', '1.1', '2.12']), 'static': lambda: rng.choice(['js', 'json', 'png']),
        'uuid': lambda: '0a' * 4 + '-1234' * 3 + '-' + '1f' * 6}
    while seen < 3000:
        pattern = path = '/'
        for name in 'abcd'[:rng.randint(2, 4)]:
            kind, after = rng.choice(list(texts)), rng.choice(['-', '-', '/', '', '.', '--', '1', '/x/', 'js'])
            pattern += f'{{{name}:{kind}}}{after}' if kind else f'{{{name}}}{after}'
            path += texts[kind]() + after
        parsed = parse_pattern(pattern)
        if not isinstance(parsed, SeveralPattern): continue
        seen += 1
        found = parsed.regex.fullmatch(path) if parsed.regex else None
        matched += found is not None
        object.__setattr__(parsed, 'short', 0)  # Else a path as short as these is left to the regular expression
        expected = found and {k: parsed.types[k].convert(v) for k, v in found.groupdict().items()}
        assert parsed.match(path) == expected, (pattern, path)
    assert matched > 2000


def test_a_regular_expression_of_ones_own_is_taken_as_it_stands() -> None:
    assert parse_pattern(r'^/(?P<y>\d+)-(?P<m>\d+)').match('/2026-11') == {'y': '2026', 'm': '11'}
    with pytest.raises(PatternError): parse_pattern('^/(')


UNITS = [u.encode() for u in (
    '<a ', '<a "', "<a '", '<a ="', "<a ='", '<a x="<b ="', '<a ="<b "=', '<a ="<b "="', '<a =', '<a\n', '<a href=',
    ' href=" ', " href=' ", '<a srcset="', '<a style="url(/', '<a b=\'"\'', '<body>', '<!--', '<!-- -->', '</head ',
    '<script ', '<script type=importmap>', '<link rel=', '<html ', '<!doctype ', '<style>', '<title>', '<textarea>',
    'url(', 'url( ', '/*', '@import ', '&quot;url(', ' ', '\t', '-', '\\', '"', "'", '=', '= ', '<', '</')]
AROUND = [(b'', b''), (b'<script>', b'</script>'), (b'<style>', b'</style>'), (b'<!--', b''), (b'<a title="', b'">'),
          (b'<a ', b''), (b'<script type=', b'>'), (b'<body>', b'importmap'), (b'<a style="', b'" x>'),
          (b"<a x='", b"' href=/>")]


@pytest.mark.parametrize('around', AROUND, ids=str)
@pytest.mark.parametrize('kind', ['html', 'css'])
def test_a_page_is_moved_below_a_prefix_in_linear_time(kind: str, around: tuple[bytes, bytes]) -> None:
    begin, end = around
    for unit in UNITS:
        def moved(n: int, unit: bytes = unit) -> bytes:
            text = b'<!doctype html><html>' + begin + unit * (n // len(unit)) + end
            r = Rewriter('/p', 'h', '<script></script>', True) if kind == 'html' else Styles('/p', 'h')
            return r.feed(text) + r.end()
        assert grows(moved, 2000) < LINEAR, unit


def test_header_fields_and_import_maps_below_a_prefix_in_linear_time() -> None:
    for name, unit in [('set-cookie', ';path='), ('set-cookie', '; '), ('hx-location', '{'), ('location', '/')]:
        def mended(n: int, name: str = name, unit: str = unit) -> str: return mend_field(name, unit * n, '/p', 'h')
        assert grows(mended, 2000) < LINEAR
    assert mend_field('hx-location', '{"a":' + '[' * 100_000, '/p', 'h').startswith('{"a":[')
    assert import_map(b'[' * 100_000, '/p') == b'[' * 100_000  # No JSON, and nobody's stack ends


def test_a_tag_below_a_prefix_ends_where_a_browser_sees_its_end() -> None:
    page = (b'<!doctype html><html lang=">"><head></head><body><a title="x > y < z" href="/a">1</a><p ">'
            b'<a href=/b>2</a>'
            b"""<a x='"' href = '/c'>3</a><script>if (a <b && c> d) x = "<a href='/d'>" + '<img src="/e">'</script>"""
            b'<img src="/f" alt="<b>"><!-- <a href="/no"> --><b href="/g"></body>')
    def moved(step: int) -> bytes:
        r = Rewriter('/p', 'h')
        return b''.join(r.feed(page[i:i + step]) for i in range(0, len(page), step)) + r.end()
    whole = moved(len(page))
    assert [whole.count(b'/p/' + c) for c in (b'a"', b'b>', b"c'", b"d'", b'e"', b'f"', b'g"', b'no')] == [1] * 7 + [0]
    for step in range(1, 60): assert moved(step) == whole, step
