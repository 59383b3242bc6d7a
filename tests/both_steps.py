"""The steps of a page and of a message through both forms of `nbws.core.speedups`; `both_forms` has the rest.

A step is a class from which another one derives: here one whose methods note that they were called. So what is compared
is what the usual case does, and when it leaves the rest to the others.
"""
from __future__ import annotations

import asyncio
import random
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from types import CoroutineType, SimpleNamespace
from typing import Any

from both_forms import SAME, agree, knowing, stream, unmask

from nbws.core.data import Headers
from nbws.core import speedups as interpreted
from nbws.core.engine import speedups
from nbws.core.html import Safe
from nbws.core.request import Request

Done = list[Any] # What has happened, in order


class Ends(BaseException):
    "What ends a task, or a program."


def often(r: random.Random, usual: Any, *others: Any) -> Any:
    return usual if r.random() < 0.94 else r.choice(others)


def shown(thing: Any) -> Any:
    "A thing as both forms have it."
    if isinstance(thing, CoroutineType):
        thing.close()
        return 'coroutine'
    if isinstance(thing, Request): return thing.target
    if isinstance(thing, (BaseException, SimpleNamespace, speedups.UsualJob, interpreted.UsualJob)) or callable(thing):
        return type(thing).__name__
    return repr(thing)


def noted(done: Done, name: str, result: Any = None) -> Callable[..., Any]:
    "A function that notes what it is called with, and returns this, or raises it."
    def note(*args: Any) -> Any:
        done.append((name, *map(shown, args)))
        if isinstance(result, BaseException): raise result
        return result
    return note


def noting(kind: type, done: Done, **methods: Any) -> Any:
    "A class that derives from a usual one, and whose methods do the same."
    def method(name: str, result: Any) -> Callable[..., Any]:
        return lambda self, *args: noted(done, name, result)(*args)
    return type(kind.__name__, (kind,), {name: method(name, result) for name, result in methods.items()})


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    try: return shown(call(*args))
    except (Exception, Ends) as e: return f'{type(e).__name__}: {e}'


def answer(module: Any) -> Any:
    "The class of answers."
    class Answer(module.UsualResponse):
        def unbuffered(self) -> None: self.headers.append(('unbuffered', ''))
        def __repr__(self) -> str: return f'Answer({self.status_code}, {self.headers}, {self.body}, {self.background})'
    return Answer


def answered(r: random.Random, kind: Any) -> Any:
    made = kind()
    made.status_code, made.headers = often(r, 200, 150, 404), often(r, [('a', 'b')], [], [('c', 'd')])
    made.body, made.background = often(r, b'hi', 'text', [b'pieces'], b''), often(r, None, 'background')
    return made


HOSTS = [(b'host', b'x')], [(b'host', b'new')], [], [(b'host', b'x'), (b'host', b'new')], [(b'Host', b'x')]
ASKED = frozenset((b'x-forwarded-for', b'x-nbws-secret'))


def asked(r: random.Random) -> Request:
    "A request."
    fields = [*often(r, *HOSTS), *often(r, [], [(b'x-forwarded-for', b'::2')]),
              *often(r, [], [(b'HX-Request', b'true')], [(b'hx-request', b'1'), (b'hx-history-restore-request', b'1')])]
    if r.random() < 0.1: r.shuffle(fields)
    target = often(r, b'/', b'/a?b', b'/%41', b'/%2F', b'/none', b'/assets/x', b'/_nbws/x', b'/_nbws')
    made = Request(often(r, 'GET', 'POST', 'HEAD'), target, Headers.from_raw(fields),
                   server=often(r, ('::1', 80), ('', None)), root_path=often(r, '', '/below'))
    made.upgrade, made.vouched = often(r, False, True), often(r, False, True)
    if r.random() < 0.1: made.state.mine = 1
    return made


def gated(module: Any, seed: int) -> Done:
    "Who may come in at once."
    r, done = random.Random(seed), []
    for _ in range(300):
        gate = noting(module.UsualGate, done, enter_other=often(r, None, 'refused', OSError()))()
        gate.known, gate.asked, gate.safe = {b'x', b'x:80'}, ASKED, frozenset(('GET', 'HEAD'))
        gate.direct = often(r, None, 'direct')
        done.append(outcome(gate.enter, asked(r)))
    return done


def stacked(module: Any, seed: int) -> Done:
    "What goes through layers, and what becomes of its answer."
    r, done, kind = random.Random(seed), [], answer(module)
    for _ in range(300):
        def any_answer() -> Any: return often(r, answered(r, kind), 'later', OSError('app'), Ends())
        def leave(n: int) -> Any: return noted(done, f'leave {n}', often(r, answered(r, kind), OSError('leave')))
        enters = [(noted(done, f'enter {n}', often(r, None, answered(r, kind), OSError('enter'))), leave(n))
                  for n in range(r.randrange(3))]
        stack = noting(module.UsualStack, done, answer_own='own', left='left')(enters, leave(9), b'/_nbws/')
        http = noted(done, 'http', any_answer())
        if r.random() < 0.5: http.steps = 'mine'  # type: ignore[attr-defined]
        app = SimpleNamespace(http=http, mine=SimpleNamespace(begin=noted(done, 'begin', any_answer())))
        request = asked(r)
        done.append((outcome(stack.begin, app, request), request.app is app))
    return done


def relocated(module: Any, seed: int) -> Done:
    "What an answer passes on its way out."
    r, done = random.Random(seed), []
    for _ in range(50):
        relocation, request = noting(module.UsualRelocation, done, relocated='other')(), asked(r)
        request.prefix = often(r, '', '/below')
        done.append(relocation.leave(request, SimpleNamespace(scripts=often(r, (), ('script',)))))
    return done


async def at_once(result: Any) -> Any: return result
async def nothing_bound() -> Any: return 'nothing bound'
async def waiting(result: Any) -> Any: return await asyncio.sleep(0, result)
async def failing(result: Any) -> Any: raise OSError(result)
async def ending(result: Any) -> Any: raise Ends
async def giving(result: Any) -> Any: return at_once(result)
def plain(result: Any) -> Any: return result


def elements(module: Any) -> Any:
    "The class of elements."
    class Element(module.UsualElement):
        __slots__ = ()
        def __repr__(self) -> str: return f'<{self.tag} {self._raw}> {self._children}'
    return Element


def pages(module: Any, r: random.Random, done: Done, el: Any) -> Any:
    "What is around pages."
    def shape(tag: str) -> Any: return f'<{tag}', f'<{tag}>', f'</{tag}>', None
    def attribute(name: str, value: Any) -> str: return f' {name}={value}'
    made = noting(module.UsualPages, done, page_other='other page')()
    made.renderer = module.Renderer(el, Safe, {}, {}, shape, attribute, str, lambda child: True, repr)
    foot = module.new_element(el, 'p', ('foot',), {})
    made.hdrs, made.ftrs, made.title = ['hdr'], often(r, (), [foot]), often(r, 'title', None)
    made.heads = often(r, {'': (['hdr'], '', '<link>')}, {'': (['old'], '', '<link>')}, {'': ([], '', None)}, {})
    made.htmlkw, made.bodykw = often(r, {}, {'lang': 'en'}), often(r, {}, {'cls': 'dark'})
    made.body_wrap, made.canonical = often(r, None, plain), often(r, False, True)
    made.opening, made.in_head = '<html><head>', frozenset(('title', 'meta'))
    made.tag_of = lambda part: getattr(part, 'tag', '')
    return made


def runner(module: Any, r: random.Random, done: Done, el: Any) -> Any:
    "A handler of requests."
    def made(tag: str, *children: Any, **attrs: Any) -> Any: return module.new_element(el, tag, children, attrs)
    usual, title, whole = made('p', 'hi', id='out'), made('title', 'mine'), made('html', made('p'))
    result = often(r, usual, (usual, title), (usual, 'text'), whole, (), 'text', None, {'a': 1}, 3, Awaited())
    function = often(r, at_once, waiting, failing, ending, giving, plain)
    kind = noting(module.PageRunner, done, answer='runs', rest_of='rest', awaited='awaited', mended=KeyError('mended'))
    if function is plain and r.random() < 0.5: kind.mended = lambda self, error: OSError('mended')
    def value(source: Any) -> Any:
        if r.random() < 0.03: raise ValueError('not bound')
        return result
    others = often(r, None, lambda source: {'result': 'rest', 'more': 1})
    parameters: Any = (('result', value),)
    if not others and r.random() < 0.3: function, parameters = nothing_bound, ()
    code = None if others else r.choice([None, function.__code__, shown.__code__]) # The last one: it was replaced
    return kind(function, parameters, others, often(r, True, False), code, often(r, False, True), module.BoundFrom, {})


class Awaited:
    def __await__(self) -> Any: yield
    def __repr__(self) -> str: return 'Awaited'


def stepped(module: Any, seed: int) -> Done:
    "From a request to its answer."
    r, done, kind = random.Random(seed), [], answer(module)
    el = elements(module)
    usual = frozenset((el, tuple, str, dict, type(None)))
    class Route(module.UsualRoute):
        def __repr__(self) -> str: return 'Route'
    Steps = noting(module.RequestSteps, done, through='through', answered='answered', failed='failed', answer_other='?',
                   handle_within='within', handled_later='later', respond_later='respond later', in_background='job')
    for _ in range(500):
        Steps.refusal = lambda self, request: noted(done, 'refusal', often(r, None, answered(r, kind)))(request)
        own = pages(module, r, done, el)
        fragment = noted(done, 'fragment', often(r, '<p>', OSError('fragment')))
        answers = module.ElementAnswers(el, ContextVar('naming'), fragment, kind, list, (('a', 'b'),))
        environment = SimpleNamespace(captures_output=often(r, False, True), transform_response=lambda _, made: made)
        app = SimpleNamespace(
            middlewares=often(r, (), ['m']), before=often(r, [], ['b']), after=often(r, [], ['a']), pages=own,
            rooms=SimpleNamespace(peers=SimpleNamespace(broker=often(r, None, 'broker'))), environment=environment,
            sessions=SimpleNamespace(save=noted(done, 'save', often(r, 'cookie', ''))),
            around_handler=often(r, None, noted(done, 'around', 'around')),
            respond=noted(done, 'respond', often(r, answered(r, kind), OSError('respond'))))
        endpoint = often(r, runner(module, r, done, el), SimpleNamespace(answer=noted(done, 'mounted', 'mounted')))
        route = Route()
        route.endpoint, route.may_change, route.stats = endpoint, often(r, False, True), module.UsualStats()
        route.stats.hits = 0
        match = noted(done, 'match', often(r, (route, {'a': 1}), None))
        table = SimpleNamespace(exact={('GET', '/'): route}, match=match)
        router, overridden = module.UsualRouter(), often(r, False, True)
        router.table = table
        steps = Steps(app, router, usual, '/assets', overridden, often(r, answers, None))
        request = asked(r)
        request.begun_session, request.added_headers = often(r, None, 'session'), often(r, None, [('own', '1')])
        begun = outcome(often(r, steps.begin, steps.answer, partial(steps.handled, route=route)), request)
        done.append((begun, route.stats.hits, repr(request.path_params), request.answered, request.app is app))
    return done


class Transport:
    "Notes what is written."
    def __init__(self, done: Done) -> None: self.write, self.closing = noted(done, 'write'), False
    def is_closing(self) -> bool: return self.closing


def out_of(module: Any, r: random.Random, done: Done) -> Any:
    queue = noting(module.UsualQueue, done, schedule=None, failed=None)()
    queue.broadcast, queue.due, queue.alone = often(r, None, 'pending'), often(r, False, True), often(r, 0, 2)
    queue.since, queue.count = 2.0**60, r.randrange(8) # No time goes by
    out = module.UsualOutput(Transport(done), queue)
    out.group, out.transport.closing = often(r, None, 'group'), often(r, False, True)
    return out


def connected(module: Any, seed: int) -> Done:
    "What is done with the reads of some connections."
    r, done, kind = random.Random(seed), [], answer(module)
    class Input(noting(module.UsualRequestInput, done, read_on=None)):  # type: ignore[misc]
        @property
        def empty(self) -> bool: return not self.rest
        def let_others(self) -> None:
            done.append('let others')
            self.yields = True
        def awaits_frames(self) -> bool: return r.random() < 0.5
        def feed(self, data: bytes) -> None:
            "Take it for a few requests, of which some are not here as a whole."
            done.append(('feed', len(data)))
            for _ in range(r.choice([0, 1, 1, 2, 5])):
                exchange = Exchange(often(r, asked(r), None), often(r, True, False))
                exchange.complete, exchange.deferred = r.random() < 0.8, r.random() < 0.3
                exchange.usual, exchange.refusal = often(r, True, False), often(r, None, 'refusal')
                self.parser.queue.append(exchange)
            self.parser.stage, self.parser.work = r.choice([0, 0, 1, 2, 3]), often(r, 0, 1000)
            if self.parser.queue: self.exchanges.advance()
        def resume(self) -> None:
            self.yields = False
            if self.parser.queue: self.exchanges.advance()
            rest, self.rest = self.rest, b''
            if rest: self.feed(rest)
    class Exchange(module.UsualExchange):
        def __repr__(self) -> str: return f'Exchange({self.request}, {self.complete})'
    class Asked(module.UsualRequest): # Of C's fields or of Python's, as `again` makes it
        def __repr__(self) -> str: return str(self.target)
    class Exchanges(noting(module.UsualExchanges, done, open_body=None, failed='failed')):  # type: ignore[misc]
        def answer(self, exchange: Any, begun: Any = None) -> Any:
            done.append(('answer', exchange, begun))
            return 'job'
        def shut(self) -> None:
            done.append('shut')
            self.lingering = True
    def begin(job: Any, exchange: Any) -> Any:
        rest = outcome(job.begin, exchange)
        return None if rest == 'None' else rest
    def layers(app: Any, request: Any) -> Any:
        if r.random() < 0.05: raise r.choice([OSError('layers'), Ends()])
        if r.random() < 0.2: of.advance() # Within a step of it
        return often(r, answered(r, kind), 'later')
    with knowing(module, {200: b'HTTP/1.1 200 OK\r\n'}, {(('a', 'b'),): b'a: b\r\n', (): b''}):
        for _ in range(60):
            out, soon = out_of(module, r, done), []
            server = module.UsualServer()
            server.date, server.stopping, server.app, server.scheme = 'today', often(r, False, True), 'app', 'http'
            server.limits, server.loop = SimpleNamespace(max_line=100), SimpleNamespace(call_soon=soon.append)
            server.layers, server.workers = SimpleNamespace(begin=layers), SimpleNamespace(begin=begin)
            came, parser, of = Input(), module.UsualParser(), Exchanges()
            parser.server, parser.queue, parser.stage, parser.work, parser.line = server, [], 0, 0, b''
            parser.last, parser.kinds, parser.peer = (SAME, ((b'host', b'x'),)), (Asked, Headers, Exchange), ('::1', 1)
            parser.local, parser.max_form = ('::1', 2), 9
            came.server, came.out, came.exchanges, came.parser, came.rest = server, out, of, parser, b''
            came.full = came.paused = came.yields = came.eof = came.ended = came.over = False
            of.answers = noting(module.UsualWriter, done, send_other=None)()
            of.answers.out, of.answers.server, of.answers.lost, of.answers.task = out, server, False, None
            of.server, of.out, of.input, of.parser, of.current, of.link = server, out, came, parser, None, 'link'
            of.served = of.lingering = of.advancing = False
            of.waited = 5.0
            for _ in range(12):
                came.receive(often(r, b'GET / HTTP/1.1\r\n' + SAME, b'GET / HTTP/1.1\r\n', b'POST ' + SAME,
                                   bytes(140_000)))
                done.append(repr((parser.stage, parser.work, parser.queue, of.current, of.served, of.waited,
                                  of.lingering, of.advancing, came.rest[-3:], came.yields, out.held, out.collects,
                                  out.queue.alone, of.answers.task)))
                if of.current is not None and r.random() < 0.7:
                    of.current.complete = often(r, True, False)
                    of.done(of.current)
                elif of.current is not None: of.current.complete = r.random() < 0.5
                out.above = often(r, False, True)
                came.eof, came.over = often(r, came.eof, True), often(r, came.over, True)
                of.answers.lost, came.ended = often(r, of.answers.lost, True), often(r, False, True)
                if r.random() < 0.5: parser.stage, out.held, of.waited = r.choice([0, 0, 0, 1, 2]), b'', 5.0
                while soon: soon.pop()()
    return done


def heard(module: Any, seed: int) -> Done:
    "What is done with the reads of some sockets, up to their handlers."
    done: Done = []
    loop, failed = asyncio.new_event_loop(), []
    def run() -> None:
        try: listen(module, random.Random(seed), loop, done)
        except BaseException as e: failed.append(e)
        finally: loop.stop()
    loop.call_soon(run) # Outside of any task, as the loop calls a protocol
    loop.run_forever()
    loop.close()
    if failed: raise failed[0]
    return done


MARK: ContextVar[int] = ContextVar('mark', default=0)


async def step(ws: Any) -> None: await asyncio.sleep(0)


class Inbox(list[Any]):
    idles = 0
    def idle(self) -> None: self.idles += 1


def listen(module: Any, r: random.Random, loop: asyncio.AbstractEventLoop, done: Done) -> None:
    class Reader(module.ShortReader):
        def feed_others(self, data: bytes, budget: int) -> list[Any]:
            self.more, self.partial = often(r, False, True), r.choice([0, 9])
            return r.choice([['one', b'two'], [], ['one', 3, 'two'], [None]])
    Noting = noting(module.UsualWorkers, done, begin_later='task', escaped=None, rest_of='rest')
    class Workers(Noting):
        def unpark(self, parked: Any) -> str:
            done.append(('unpark', parked.job))
            parked.job = None
            return 'unparked'
    class Dispatcher(noting(module.UsualDispatcher, done, resume_later=None)):  # type: ignore[misc]
        def next(self) -> Any: return self.inbox.pop(0)
        async def go_on(self, rest: Any) -> None:
            await rest
            self.over()
    class Socket(noting(module.UsualSocket, done, steered=True)):  # type: ignore[misc]
        def keep(self, data: Any) -> None:
            done.append(('keep', shown(data)))
            self.dispatcher.inbox = self.dispatcher.inbox or Inbox()
            self.dispatcher.inbox.append(data)
    def message(ws: Any, data: Any) -> Any:
        done.append(('message', shown(data)))
        if r.random() < 0.1: MARK.set(MARK.get() + 1)
        if r.random() < 0.1: ws.keep(often(r, 'behind', b'behind', step))
        if r.random() < 0.05: ws.closes() # While a read is handled
        if r.random() < 0.1: raise r.choice([OSError, asyncio.CancelledError, Ends])
        said = often(r, 'said', b'said', Safe('said'), 'x' * 256, 'x' * 65_532, 'x' * 70_000)
        ws.outbox.push(said, often(r, None, 'close'))
        rest = often(r, None, at_once, waiting)
        return rest and rest('rest')
    for _ in range(60):
        out = out_of(module, r, done)
        conn = noting(module.UsualConn, done, write_other=None)(out, often(r, None, 'deflater'), often(r, False, True))
        socket, workers = Socket(), Workers(loop)
        outbox = noting(module.UsualOutbox, done, behind_transport=r.random() < 0.5, keep=None)()
        dispatcher, router = Dispatcher(socket, workers), noting(module.UsualRouter, done, align=None)()
        parked = module.UsualParked()
        parked.task, parked.context = SimpleNamespace(), copy_context()
        parked.clean = parked.context.copy()
        workers.parked, workers.closing = [parked], often(r, False, True)
        workers.budget = often(r, None, SimpleNamespace(spend=noted(done, 'spend')))
        socket.router, socket.table, socket.pull = router, often(r, 'new', 'old'), often(r, None, 'pull')
        router.table = 'new'
        socket.closes = lambda conn=conn: setattr(conn, 'state', r.choice([1, 2]))
        socket.dispatcher, socket.endpoint = dispatcher, SimpleNamespace(message=message)
        socket.outbox, outbox.conn = outbox, often(r, conn, None)
        receiver = often(r, socket, SimpleNamespace(received=noted(done, 'received', OSError('receiver'))))
        came = noting(module.UsualInput, done, control=None, answer=None, announce=None, partly_here=None, finish=None,
                      fall_behind=None, let_others=None, fault=None)(conn, Reader(1000, unmask), receiver)
        for _ in range(12):
            conn.state = often(r, conn.state, 0, 1, 2)
            out.above, outbox.lags, outbox.unsent = often(r, False, True), often(r, False, True), often(r, 0, 10)
            came.announced, came.unread, conn.pinged = often(r, False, True), often(r, 0, 10), True
            dispatcher.held, parked.cancelled, conn.waited = often(r, 0, 1), often(r, False, True), 3.0
            read = often(r, masked(often(r, '{"a": 1}', 'nbws stop', 'nbws done?')), stream(r), bytes(140_000))
            another = r.random() < 0.1
            if another: _enter_task(loop, SimpleNamespace())  # type: ignore[arg-type] # A handler that is at work reads
            done.append(outcome(came.receive, read))
            if another: _leave_task(loop, asyncio.current_task(loop))  # type: ignore[arg-type]
            waits = [shown(item) for item in dispatcher.inbox or ()]
            done.append(repr((dispatcher.busy, dispatcher.at_step, dispatcher.task, waits, len(workers.parked),
                              getattr(dispatcher.inbox, 'idles', 0), outbox.lags, out.held, out.collects, out.flush(),
                              conn.waited, conn.pinged)))
            if dispatcher.busy and r.random() < 0.7: dispatcher.over(often(r, False, True))
            if not dispatcher.busy and r.random() < 0.1: outcome(dispatcher.start, often(r, step, 'started'))


def masked(text: str) -> bytes: return bytes((0x81, 0x80 | len(text))) + b'abcd' + unmask(b'abcd', text.encode())


STEPS = gated, stacked, relocated, stepped, connected, heard


def steps_agree(seed: int) -> None:
    for case in STEPS:
        for a, b in zip(case(speedups, seed), case(interpreted, seed), strict=True): agree(repr(a), repr(b), seed, case)
