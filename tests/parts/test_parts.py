"Parts of pages: rendered once for all who see the same, bound and guarded as handlers are, the newest and no queue."
from __future__ import annotations

import gc
import json
import re
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from bound import BOUND, until

from nbws.common import App, Div, Input, P, Redirect, Request, Response, Select, Slider, Td, Tr
from nbws.core.errors import OptionError, SignatureError
from nbws.core.messages import Payload
from nbws.parts.part import digest_of
from nbws.parts.renderings import SHORTER
from nbws.testing import Client, Socket

LINE = '/_nbws/parts'
ELEMENT = re.compile(r'data-nbws-part="([^"]+)" data-nbws-version="([^"]*)"')


class Placed(NamedTuple):
    token: str
    version: str


class Page:
    "A page as its script sees it: the elements that show parts, and their socket."
    def __init__(self, client: Client, path: str = '/') -> None:
        self.client, self.text = client, client.get(path).text
        self.placed = [Placed(*found) for found in ELEMENT.findall(self.text)]
        self.numbers: dict[int, int] = {}
        self.held: dict[int, tuple[str, str]] = {} # What came last, and its digest

    def open(self) -> Page:
        self.socket: Socket = self.client.ws(LINE)
        self.socket.__enter__()
        for ref in range(len(self.placed)): self.show(ref)
        return self

    def close(self) -> None: self.socket.__exit__(None, None, None)

    def show(self, ref: int, **values: Any) -> Any:
        placed = self.placed[ref]
        self.say(show=ref, part=placed.token, version=placed.version, values=values)
        told = json.loads(self.socket.receive(BOUND))
        assert told.pop('ref') == ref
        if 'as' in told: self.numbers[told['as']] = ref
        return told

    def say(self, **message: Any) -> None: self.socket.send(json.dumps(message))

    def hear(self, shown: bool = True) -> str:
        "The next rendering; by default it is shown at once."
        while (text := str(self.socket.receive(BOUND))).startswith('{'):
            told = json.loads(text)
            if 'as' in told: self.numbers[told['as']] = told['ref']
        head, _, html = text.partition('\n')
        number, version, digest, *base = head.split(' ')
        ref = self.numbers[int(number)]
        self.wire = text
        if base:
            before, old = self.held[ref]
            assert base == [before]
            numbers = iter(html.split(','))
            html = re.sub(r'-?[0-9]+(?:\.[0-9]+)?', lambda found: next(numbers) or found[0], old)
        self.held[ref] = digest, html
        self.placed[ref] = self.placed[ref]._replace(version=f'{version} {digest}')
        if shown: self.say(shown=ref)
        return html

    def is_quiet(self) -> bool:
        "Whether nothing has been sent by the time that a question is answered."
        self.say(ping=1)
        while (text := str(self.socket.receive(BOUND))).startswith('{') and 'as' in (told := json.loads(text)):
            self.numbers[told['as']] = told['ref']
        return text == '{"pong":true}'


class Counted:
    "A value that changes, and how often it was looked at."
    def __init__(self) -> None: self.value, self.calls = 0, 0

    def __call__(self) -> int:
        self.calls += 1
        return self.value


@pytest.fixture
def app() -> App: return App(secret_key='key')


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    client = Client(app, timeout=BOUND)
    yield client
    client.close()


@pytest.fixture
def opened() -> Iterator[Any]:
    pages: list[Page] = []
    def open_page(client: Client, path: str = '/') -> Page:
        pages.append(Page(client, path).open())
        return pages[-1]
    yield open_page
    for page in pages: page.close()


def test_one_rendering_for_all_who_see_the_same(app: App, client: Client, opened: Any) -> None:
    counted = Counted()
    @app.part
    def number(n: int = 1, times: int = 1): return P(n, ' ', counted() * times)
    @app.get('/')
    def home(): return Div(number(), number(n=2))
    first, second = opened(client), opened(client)
    assert first.text.count('<p>1 0</p>') == 1
    before, counted.value = counted.calls, 7
    assert number.refresh() == 4
    for page in first, second: assert {page.hear(), page.hear()} == {'<p>1 7</p>', '<p>2 7</p>'}
    assert counted.calls == before + 2
    counted.value = 8
    assert number.refresh(n=2) == 2
    for page in first, second: assert page.hear() == '<p>2 8</p>' and page.is_quiet()


def test_what_is_the_same_is_not_sent(app: App, client: Client, opened: Any) -> None:
    counted = Counted()
    @app.part
    async def number(): return P(counted())
    @app.get('/')
    async def home(): return number()
    page = opened(client)
    for value in 1, 2, 3:
        counted.value = value
        number.refresh()
        assert page.hear() == f'<p>{value}</p>'
        for _ in range(2):
            number.refresh()
            assert page.is_quiet()
    assert 4 <= counted.calls <= 10


def test_only_numbers_are_sent_where_nothing_else_has_changed(app: App, client: Client, opened: Any) -> None:
    points = [[n, n / 4] for n in range(100)]
    @app.part
    def line(color: str = 'red'): return P(' '.join(f'{x},{y}' for x, y in points), style=f'color:{color}')
    @app.get('/')
    def home(): return line(color=Select('red', 'blue'))
    def shown(color: str) -> str:
        return f'<p style="color:{color}">{" ".join(f"{x},{y}" for x, y in points)}</p>'
    first = opened(client)
    points[7][1] = -1.5
    line.refresh()
    assert first.hear() == shown('red') and len(first.wire) > 700 # What came with the page is not known by its text
    points[8][1] = 1e-7 # A number of another form: these are two
    line.refresh()
    assert first.hear() == shown('red') and len(first.wire) > 700
    points[8][1], points[99][0] = -7, 1000
    line.refresh()
    assert first.hear() == shown('red') and len(first.wire) > 700
    second = opened(client)
    points[99][0] = 1001
    line.refresh()
    assert first.hear() == second.hear() == shown('red')
    assert len(first.wire) < 300 and len(second.wire) > 700
    points[0][0] = 4
    line.refresh()
    assert first.hear() == second.hear() == shown('red')
    assert first.wire == second.wire and first.wire.endswith(f'\n4{"," * 199}')
    first.say(set=0, values={'color': 'blue'})
    assert first.hear() == shown('blue') and len(first.wire) > 700
    points[0][0] = 5
    line.refresh()
    assert {first.hear(), second.hear()} == {shown('red'), shown('blue')}
    assert len(first.wire) < 300 and len(second.wire) < 300
    first.close()
    first.open()
    points[0][0] = 6
    line.refresh()
    first.hear()
    assert len(first.wire) > 700


def test_a_large_rendering_is_not_kept(app: App, client: Client, opened: Any) -> None:
    counted = Counted()
    @app.part
    def number(): return P(counted(), ' much' * 20_000)
    @app.get('/')
    def home(): return number()
    page = opened(client)
    for counted.value in 1, 2:
        number.refresh()
        assert page.hear().startswith(f'<p>{counted.value} much') and len(page.wire) > 80_000


def test_text_that_cannot_be_sent_is_told_and_the_next_one_is_shown(app: App, client: Client, opened: Any,
                                                                    expect_log: Any) -> None:
    expect_log('half a surrogate pair is no character', times=1)
    counted = Counted()
    @app.part
    def number(): return P(counted(), '\ud800' if counted.value == 1 else '')
    @app.get('/')
    def home(): return number()
    page = opened(client)
    counted.value = 1
    for calls in 2, 3: # The same again is told once
        number.refresh()
        until(lambda calls=calls: counted.calls >= calls)
        assert page.is_quiet()
    counted.value = 2
    number.refresh()
    assert page.hear() == '<p>2</p>'


def test_what_makes_the_newest_of_others_is_bounded(app: App, client: Client, opened: Any) -> None:
    "A visitor comes to the same value from hundreds of others, where somebody else stays."
    calls: list[int] = []
    @app.part
    def chart(n: int = 0):
        calls.append(n)
        return P(n, ' much' * 1000)
    @app.get('/')
    def home(): return chart(n=Slider(0, 1000))
    stays, moves = opened(client), opened(client)
    for n in range(1, 20):
        for value in n, 0:
            moves.say(set=0, values={'n': value})
            assert moves.hear().startswith(f'<p>{value} much')
    kept = [o for o in gc.get_objects() if isinstance(o, Payload) and str(o.data).endswith('\n0')]
    assert len(kept) <= SHORTER + 1 and stays.is_quiet()


def test_a_visitors_own(app: App) -> None:
    "Sessions, paths and queries are those of the page; a visitor's rendering is nobody else's."
    counted = Counted()
    @app.part
    def mine(session, name: str, color: str = 'black'): return P(counted(), session.get('login'), name, color)
    @app.get('/room/{name}')
    def room(session, name, login: str = ''):
        session['login'] = login
        return mine()
    clients = [Client(app, timeout=BOUND) for _ in range(2)]
    pages = [Page(c, f'/room/{n}?color=c{n}&login=l{n}').open() for n, c in enumerate(clients)]
    assert '<p>0l00c0</p>' in pages[0].text
    counted.value = 5
    mine.refresh()
    assert [page.hear() for page in pages] == ['<p>5l00c0</p>', '<p>5l11c1</p>']
    for page in pages: page.close()
    for c in clients: c.close()


def test_nobody_sees_a_part_of_a_page_that_is_not_theirs(app: App, client: Client, opened: Any) -> None:
    @app.part
    def secret(): return 'secret'
    def guard(request: Request, session: Any) -> Any:
        if request.path.startswith('/private') and not session.get('name'): return Redirect('/login')
        return None
    app.before.append(guard)
    @app.get('/private')
    def private(): return secret()
    @app.get('/login')
    def login(session, name: str = ''):
        session['name'] = name
        return secret()
    def locked(session: Any) -> Any: return None if session.get('name') == 'Ada' else 'no'
    @app.get('/locked', before=locked)
    def own(): return secret()
    client.get('/login?name=Ada')
    for path in '/private', '/locked', '/login?name=Ada':
        page = opened(client, path)
        stranger = Client(app, timeout=BOUND)
        other = Page(stranger, path)
        assert path.startswith('/login') or not other.placed
        other.placed = page.placed # As if Ada had handed on what stands in her page
        other.socket = stranger.ws(LINE).__enter__()
        told = other.show(0)
        assert ('refused' in told) == (not path.startswith('/login')), path
        other.close()
        stranger.close()


def test_middleware_guards_too(app: App, client: Client, opened: Any) -> None:
    shut = False
    @app.part
    def secret(): return 'secret'
    @app.middleware
    async def door(request: Request, call_next: Any) -> Any:
        return Response(b'', 403) if shut and request.path == '/' else await call_next(request)
    @app.get('/')
    def home(): return secret()
    page = opened(client)
    shut = True
    assert page.show(0) == {'refused': True}


@pytest.mark.parametrize('token', ['', 'x', 'a.b.c', None, 3, '{}'])
def test_made_up(app: App, client: Client, opened: Any, expect_log: Any, token: Any) -> None:
    expect_log('not placed there', times=1)
    @app.part
    def secret(): return 'secret'
    @app.get('/')
    def home(): return secret()
    page = opened(client)
    page.say(show=1, part=token)
    assert json.loads(page.socket.receive(BOUND)) == {'ref': 1, 'refused': True}
    assert page.is_quiet()


def test_another_apps_key(app: App, client: Client, opened: Any, expect_log: Any) -> None:
    expect_log('not placed there', times=1)
    @app.part
    def secret(): return 'secret'
    @app.get('/')
    def home(): return secret()
    page, other = opened(client), App(secret_key='another')
    token = other.seal.close(app.seal.open(page.placed[0].token))
    page.say(show=1, part=token)
    assert json.loads(page.socket.receive(BOUND)) == {'ref': 1, 'refused': True}
    assert page.is_quiet()


def test_an_input_in_one_line(app: App, client: Client, opened: Any) -> None:
    @app.part
    def chart(n: int = 3, kind: str = 'bar', factor: int = 1): return P(n * factor, ' ', kind)
    @app.get('/')
    def home(): return chart(n=Slider(1, 20), kind=Select('bar', 'line'), factor=2)
    page, other = opened(client, '/?n=9&factor=100&kind=x'), opened(client)
    assert '<p>6 bar</p>' in page.text and 'value="3"' in page.text
    page.say(set=0, values={'n': 7, 'factor': 50, 'unknown': 1})
    assert page.hear() == '<p>14 bar</p>'
    page.say(set=0, values={'kind': 'line'})
    assert page.hear() == '<p>14 line</p>'
    chart.refresh()
    assert page.is_quiet() and other.is_quiet()


@pytest.mark.parametrize('values', [{'n': 21}, {'n': 'x'}, {'n': [1]}, {'kind': 'other'}, 'x', {'n': None}])
def test_what_a_visitor_sets_is_checked(app: App, client: Client, opened: Any, expect_log: Any, values: Any) -> None:
    expect_log('', times=1)
    app.debug = True # The socket stays open
    calls: list[Any] = []
    @app.part
    def chart(n: int = 3, kind: str = 'bar'):
        calls.append((n, kind))
        return P(n)
    @app.get('/')
    def home(): return chart(n=Slider(1, 20), kind=Select('bar', 'line'))
    page = opened(client)
    page.say(set=0, values=values)
    page.say(set=0, values={'n': 4})
    assert page.hear() == '<p>4</p>'
    assert calls == [(3, 'bar'), (4, 'bar')]


def test_two_hundred_moves(app: App, client: Client, opened: Any) -> None:
    "The last value counts, and what came between is not rendered: nothing queues."
    calls, go_on, began = list[int](), threading.Event(), threading.Event()
    @app.part
    def chart(n: int = 0):
        calls.append(n)
        if n == 1:
            began.set()
            assert go_on.wait(BOUND)
        return P(n)
    @app.get('/')
    def home(): return chart(n=Slider(0, 1000))
    page = opened(client)
    page.say(set=0, values={'n': 1})
    assert began.wait(BOUND)
    for n in range(2, 201): page.say(set=0, values={'n': n})
    assert page.is_quiet()
    go_on.set()
    while (html := page.hear()) != '<p>200</p>': assert html == '<p>1</p>'
    assert calls == [0, 1, 200]


def test_who_does_not_show_gets_the_newest_only(app: App, client: Client, opened: Any) -> None:
    counted = Counted()
    @app.part
    async def number(): return P(counted())
    @app.get('/')
    def home(): return number()
    slow, quick = opened(client), opened(client)
    for value in range(1, 101):
        counted.value = value
        number.refresh()
        assert quick.hear() == f'<p>{value}</p>'
    assert [slow.hear(shown=False), slow.hear(shown=False)] == ['<p>1</p>', '<p>2</p>']
    assert slow.is_quiet()
    slow.say(shown=0)
    assert slow.hear(shown=False) == '<p>100</p>'
    calls = counted.calls
    quick.close()
    for _ in range(50): number.refresh()
    assert slow.is_quiet() and counted.calls <= calls + 1 # Nobody can take it, so it is not made
    slow.say(shown=0)
    assert slow.is_quiet()


def test_many_changes_are_one(app: App, client: Client, opened: Any) -> None:
    counted, go_on = Counted(), threading.Event()
    @app.part
    def number():
        if counted.value == 1: assert go_on.wait(BOUND)
        return P(counted())
    @app.get('/')
    def home(): return number()
    page = opened(client)
    counted.value = 1
    number.refresh()
    def change() -> None:
        for _ in range(500): number.refresh()
    threads = [threading.Thread(target=change) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join(BOUND)
    assert page.is_quiet()
    counted.value = 2
    go_on.set()
    while page.hear() != '<p>2</p>': pass
    assert counted.calls <= 4


def test_a_page_that_comes_back(app: App, client: Client, opened: Any) -> None:
    "Its socket was lost: it is told what has changed, and nothing where nothing has."
    counted = Counted()
    @app.part
    def number(): return P(counted())
    @app.get('/')
    def home(): return number()
    page = opened(client)
    page.close()
    page.open()
    assert page.is_quiet() and counted.calls == 1
    page.close()
    counted.value = 5
    assert number.refresh() == 0
    page.open()
    assert page.hear() == '<p>5</p>'


def test_an_error_is_told_once_and_the_page_goes_on(app: App, client: Client, opened: Any, expect_log: Any) -> None:
    expect_log('ZeroDivisionError', times=2)
    counted = Counted()
    @app.part
    def number(): return P(1 / counted())
    @app.get('/')
    def home(): return Div(P('the page'), number())
    page = opened(client) # One error, and an element without a content
    assert '<p>the page</p>' in page.text and 'ZeroDivision' not in page.text
    for _ in range(5):
        calls = counted.calls
        number.refresh()
        assert until(lambda seen=calls: counted.calls > seen) and page.is_quiet()
    counted.value = 2
    number.refresh()
    assert page.hear() == '<p>0.5</p>'


def test_parts_that_come_and_go(app: App, client: Client, opened: Any) -> None:
    def number(): return P(1)
    first = app.part(number)
    @app.get('/')
    def home(): return first()
    page = opened(client)
    def number(): return P(2)
    app.part(number)
    assert page.hear() == '<p>2</p>'
    app.remove([r for r in app.table if r.name == 'part number'])
    assert page.is_quiet()
    def number(): return P(3)
    app.part(number)
    assert page.hear() == '<p>3</p>'


def test_rows_and_elements_with_classes(app: App, client: Client) -> None:
    @app.part(tag='tbody', cls='rows')
    def rows(n: int): return [Tr(Td(i)) for i in range(n)]
    @app.get('/')
    def home(): return rows(2), rows(n=3), rows(2)
    text = client.get('/').text
    assert text.count('<tbody id="rows-') == 3 and text.count('class="rows"') == 3
    assert len(set(re.findall('<tbody id="([^"]+)"', text))) == 3
    assert text.count('parts.js') == 1
    assert client.get('/', headers={'hx-request': 'true'}).text.count('<tr>') == 7


def test_a_part_where_no_handler_places_it(app: App, client: Client, opened: Any) -> None:
    "In a stream or a message: it comes empty, and is filled when its page asks."
    @app.part
    def number(): return P(1)
    @app.get('/')
    async def home():
        yield '<!doctype html><html><body>'
        yield number()
    page = Page(client)
    assert '<p>1</p>' not in page.text
    page = opened(client)
    assert page.hear() == '<p>1</p>'


def test_what_cannot_be_bound_is_answered_as_a_handlers_is(app: App, client: Client, expect_log: Any) -> None:
    expect_log('cannot be read as int', times=1)
    @app.part
    def number(n: int): return P(n)
    @app.get('/')
    def home(): return number()
    assert client.get('/?n=3').status == 200
    assert client.get('/?n=x').status == 400


def test_shared_inputs_and_their_own_places(app: App, client: Client) -> None:
    @app.part
    def chart(n: int = 3): return P(n)
    @app.part
    def table(n: int = 3): return P(n)
    @app.get('/')
    def home():
        n = Slider(1, 20)
        first, second = chart(n=n), table(n=n)
        return Div(first.inputs, id='left'), Div(first.output, second.output)
    text = client.get('/').text
    assert text.count('type="range"') == 1 and text.count('''data-nbws-inputs='{"n": "chart-n"}''') == 2
    assert text.index('type="range"') < text.index('data-nbws-part')
    assert text.count('<p>3</p>') == 2


def test_values_that_the_browser_has_kept(app: App, client: Client, opened: Any) -> None:
    "After a reload a field may have another value than the page: the part follows the field."
    @app.part
    def chart(n: int = 3, q: str = ''): return P(n, q)
    @app.get('/')
    def home(): return chart(n=Slider(1, 20), q=Input(maxlength=3))
    page = opened(client)
    assert page.is_quiet()
    page.show(0, n=8, q='abc')
    assert page.hear() == '<p>8abc</p>'


def test_under_an_asgi_server() -> None:
    app, counted = App(secret_key='key', allowed_hosts='testserver'), Counted()
    @app.part
    def number(session): return P(counted(), session.get('name'))
    @app.get('/')
    def home(session):
        session['name'] = 'Ada'
        return number()
    with app.get_testclient() as visitor:
        token, version = ELEMENT.findall(visitor.get('/').text)[0]
        with visitor.websocket_connect(LINE) as socket:
            socket.send_json({'show': 1, 'part': token, 'version': version})
            number_ = socket.receive_json()['as']
            counted.value = 2
            assert number.refresh() == 1
            assert socket.receive_text() == f'{number_} {number.version} {digest_of("<p>2Ada</p>")}\n<p>2Ada</p>'


def test_a_timer_begins_and_ends_with_its_app_and_tells_its_errors(app: App, client: Client, expect_log: Any) -> None:
    expect_log('ZeroDivisionError', times=1)
    calls, at_once, most = list[int](), [0], [0]
    done, failing = threading.Event(), threading.Event()
    @app.every(0.01)
    def tick():
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        calls.append(1)
        threading.Event().wait(0.03) # Longer than the interval: what it has missed is left out
        at_once[0] -= 1
        if len(calls) in (2, 3):
            failing.set()
            raise ZeroDivisionError # Twice, and told once
        if len(calls) > 5: done.set()
    assert not calls
    client.get('/') # The app is served
    assert failing.wait(BOUND) and done.wait(BOUND)
    assert most == [1]
    assert tick.__name__ == 'tick'
    client.close()
    before = len(calls)
    assert not app.timers.running and len(calls) <= before + 1


def test_a_timer_that_is_replaced_and_ended(app: App, client: Client) -> None:
    def make(value: int) -> threading.Event:
        called = threading.Event()
        @app.every(0.001)
        async def tick(): called.set()
        return called
    client.get('/')
    first = make(1)
    assert first.wait(BOUND)
    second = make(2)
    assert second.wait(BOUND)
    first.clear()
    done = threading.Event()
    async def turn() -> None: done.set()
    app.run(turn())
    assert done.wait(BOUND) and [t.name for t in app.timers.running] == ['tick']
    assert not first.is_set()


def test_a_part_that_changes_itself_leaves_time_to_others(app: App, client: Client, opened: Any) -> None:
    counted = Counted()
    @app.part
    async def number():
        counted()
        if 0 < counted.value < 5: number.refresh()
        return P('the same')
    @app.get('/')
    def home(): return number()
    page = opened(client)
    counted.value = 1
    number.refresh()
    for _ in range(20): assert page.is_quiet()
    before = counted.calls
    threading.Event().wait(0.2)
    assert counted.calls - before <= 40
    counted.value = 9


def test_mistakes_are_told_where_they_are_made(app: App) -> None:
    with pytest.raises(SignatureError, match='has no name'): app.part(lambda: P('x'))
    with pytest.raises(OptionError, match=r'@app.every\(1\)'): app.every(lambda: None) # type: ignore[arg-type]
    with pytest.raises(OptionError, match='least value'): Slider(9, 5)


@pytest.mark.parametrize('answer', [Response(b'x'), Redirect('/x')])
def test_an_answer_is_no_content_of_a_part(app: App, client: Client, answer: Any, expect_log: Any) -> None:
    expect_log(f'a part returned a {type(answer).__name__}', times=1)
    @app.part
    def wrong(): return answer
    @app.get('/')
    def home(): return wrong()
    assert 'object at' not in (text := client.get('/').text) and 'Response' not in text


@pytest.mark.parametrize(('field', 'shown'), [(Slider(5, 9), 5), (Slider(0, 2), 2), (Input(type='number', min=5), 5)])
def test_a_field_shows_what_its_part_shows(app: App, client: Client, field: Any, shown: int) -> None:
    "A default out of its range is what the browser makes of it."
    @app.part
    def number(n: int = 3): return P(n)
    @app.get('/')
    def home(): return number(n=field)
    text = client.get('/').text
    assert f'<p>{shown}</p>' in text and f'value="{shown}"' in text
