"""Starts applications, uses them as a visitor would, and writes down what was answered: `python drive.py SIDE`.

Each line of its input names two files: a task, and where the answer goes. What every application imports is imported
once, before; each task is a child of its own, in a network of its own where the system lets it. Without steps in the
task they are found: the routes, then the forms and htmx attributes of the pages that came, then the sockets. With steps
(found under FastHTML before) the same are taken again.
"""
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
import probe
import websockets
from bs4 import BeautifulSoup, Tag

START, REQUEST, STREAM, ALL = 90.0, 15.0, 1.5, 150.0 # Seconds: to start, for one answer, to listen, for everything
MAX_STEPS = 60
WORDS = {'int': '1', 'float': '1.5', 'bool': 'true', 'date': '2024-02-03', 'datetime': '2024-02-03T04:05:06'}
TYPES = {'number': '1', 'range': '1', 'email': 'ann@example.com', 'date': '2024-02-03', 'password': 'Secret123!',
         'color': '#112233', 'time': '04:05', 'url': 'http://127.0.0.1/', 'tel': '123', 'month': '2024-02',
         'datetime-local': '2024-02-03T04:05', 'week': '2024-W05', 'checkbox': '1', 'radio': '1'}
VERBS = ('get', 'post', 'put', 'patch', 'delete')
SKIP = re.compile(r'live-reload|_nbws|/static/|\{[^}]*:static\}|logout')

Step = dict[str, Any]


class Answered:
    "The steps of one run, with what was answered."
    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url, self.client, self.steps, self.asked = url, client, [], set[str]()
        self.until = time.monotonic() + ALL

    def key(self, s: Step) -> str: return json.dumps([s['method'], s['url'], s.get('data')], sort_keys=True)

    async def take(self, s: Step) -> Step | None:
        "Ask, unless that was asked before or time is up."
        if time.monotonic() > self.until or len(self.steps) >= MAX_STEPS: return None
        if not s.get('again') and self.key(s) in self.asked: return None
        self.asked.add(self.key(s))
        step = {k: s[k] for k in ('method', 'url', 'data', 'hx', 'again', 'files') if s.get(k)}
        try: step |= await (self.socket(s) if s['method'] == 'WS' else self.request(s))
        except Exception as e: step |= {'status': 0, 'body': f'{type(e).__name__}: {e}'}
        self.steps.append(step)
        return step

    async def request(self, s: Step) -> Step:
        "One answer; of a stream what comes in a second or two."
        headers = {'HX-Request': 'true', 'Accept': '*/*'} if s.get('hx') else {'Accept': 'text/html,*/*'}
        sent: dict[str, Any] = {}
        data = s.get('data') or {}
        if s['method'] in ('GET', 'DELETE') or not data: sent['params'] = data or None
        elif s.get('files'):
            files = [(n, (f'{n}.txt', b'one\ntwo\n', 'text/plain')) for n in s['files']]
            sent |= {'data': {k: v for k, v in data.items() if k not in s['files']}, 'files': files}
        else: sent['data'] = data
        body, kind = b'', ''
        async with self.client.stream(s['method'], self.url + s['url'], headers=headers, **sent) as r:
            kind = r.headers.get('content-type', '').partition(';')[0]
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(STREAM if kind == 'text/event-stream' else REQUEST):
                    async for chunk in r.aiter_bytes():
                        body += chunk
                        if len(body) > 1 << 20: break
            place = r.headers.get('location', '')
            return {'status': r.status_code, 'type': kind, 'location': place.removeprefix(self.url),
                    'cookies': sorted(c.partition('=')[0] for c in r.headers.get_list('set-cookie')),
                    'hx_headers': sorted(f'{k}: {v}' for k, v in r.headers.items() if k.startswith('hx-')),
                    'body': body[:1 << 20].decode('utf-8', 'replace')}

    async def socket(self, s: Step) -> Step:
        "What a socket sends at its start and after two messages."
        got: list[str] = []
        url = self.url.replace('http', 'ws') + s['url']
        cookies = '; '.join(f'{c.name}={c.value}' for c in self.client.cookies.jar)
        headers = {'Cookie': cookies, 'Origin': self.url} if cookies else {'Origin': self.url}

        async def listen(ws: Any) -> str:
            try:
                while True:
                    m = await asyncio.wait_for(ws.recv(), STREAM)
                    got.append(m if isinstance(m, str) else repr(m))
                    if len(got) > 50: return 'many'
            except TimeoutError: return 'open'
            except websockets.ConnectionClosed as e: return f'closed {e.rcvd.code if e.rcvd else 1006}'

        try:
            async with websockets.connect(url, additional_headers=headers, open_timeout=REQUEST, close_timeout=2) as ws:
                end = await listen(ws)
                for _ in range(2):
                    got.append('--')
                    with contextlib.suppress(websockets.ConnectionClosed):
                        await ws.send(json.dumps(s.get('data') or {}))
                    end = await listen(ws)
        except websockets.InvalidStatus as e:
            return {'status': e.response.status_code, 'type': 'websocket', 'body': ''}
        return {'status': 101, 'type': 'websocket', 'body': '\n'.join(got), 'end': end}


def word(name: str, kind: str = 'str') -> str:
    "A value for a parameter, by its annotation and its name."
    kind = kind.replace('Optional[', '').strip(']').partition(' |')[0].rpartition('.')[2]
    if kind in WORDS: return WORDS[kind]
    if 'email' in name.lower(): return TYPES['email']
    if re.search('pass|pwd', name.lower()): return TYPES['password']
    number = re.search(r'(^|_)(id|idx|index|num|page|n|count|qty|amount|year|month)$', name.lower())
    return '1' if number else f'a {name}'


def fields(form: Tag) -> tuple[dict[str, str], list[str]]:
    "What a browser would send of a form or one element, filled in, and which of these are files."
    found: dict[str, str] = {}
    files: list[str] = []
    inner = [form, *form.find_all(True)]
    for e in inner:
        name = e.get('name')
        if not name or e.name not in ('input', 'select', 'textarea', 'button') or e.has_attr('disabled'): continue
        kind, value = str(e.get('type', 'text')), e.get('value')
        if e.name == 'select':
            options = [o for o in e.find_all('option') if o.get('value', o.text)]
            found[name] = str(options[0].get('value', options[0].text)) if options else ''
        elif e.name == 'textarea': found[name] = e.text or f'a {name}'
        elif e.name == 'button' or kind in ('submit', 'button', 'image', 'reset'):
            if value is not None and e is form: found[name] = str(value)
        elif kind == 'file': found[name] = ''; files.append(name)
        elif kind == 'checkbox': found[name] = str(value or 'on')
        elif kind == 'hidden': found[name] = str(value or '')
        else: found[name] = str(value or TYPES.get(kind) or word(name))
    return found, files


def actions(page: Step) -> list[Step]:
    "The requests that a page can make: its forms, its htmx attributes, its links."
    if page.get('type') != 'text/html' or page['status'] >= 400: return []
    soup = BeautifulSoup(page['body'], 'lxml')
    found: list[Step] = []

    def add(method: str, url: Any, data: dict[str, str], files: list[str], hx: bool) -> None:
        if method.lower() not in VERBS: return # A form of a dialog closes it
        parts = urlsplit(urljoin('http://here' + page['url'], str(url)))
        if parts.netloc != 'here' or parts.scheme != 'http' or SKIP.search(parts.path): return
        if method == 'GET': data = {**dict(parse_qsl(parts.query)), **data}; target = parts.path
        else: target = parts.path + (f'?{parts.query}' if parts.query else '')
        found.append({'method': method, 'url': target, 'data': data, 'files': files, 'hx': hx})

    for e in soup.find_all(True):
        around = e if e.name == 'form' else e.find_parent('form')
        for verb in VERBS:
            url = e.get(f'hx-{verb}', e.get(f'data-hx-{verb}'))
            if url is None: continue
            data, files = fields(around if around is not None and (verb != 'get' or around is e) else e)
            with contextlib.suppress(ValueError, AttributeError):
                vals = json.loads(str(e.get('hx-vals') or e.get('data-hx-vals') or '{}'))
                data |= {k: str(v) for k, v in vals.items()}
            add(verb.upper(), url, data, files, True)
        if e.name == 'form' and (e.get('action') is not None or not any(e.get(f'hx-{v}') for v in VERBS)):
            if not e.get('ws-send'):
                data, files = fields(e)
                add(str(e.get('method') or 'get').upper(), e.get('action') or page['url'], data, files, False)
        if e.name == 'a' and e.get('href') and not str(e['href']).startswith(('#', 'mailto:', 'javascript:')):
            add('GET', e['href'], {}, [], False)
    return found


async def explore(run: Answered, routes: list[dict[str, Any]]) -> None:
    "Find the steps: pages, what these offer, the other routes, sockets, the pages again."
    def filled(path: str, takes: dict[str, str]) -> str:
        return re.sub(r'\{(\w+)(?::(\w+))?\}',
                      lambda m: word(m[1], m[2] or takes.get(m[1], 'str')).replace(' ', '-'), path)

    pages = ['/', *(r['path'] for r in routes if 'GET' in r['methods'] and '{' not in r['path'])]
    pages = [p for p in dict.fromkeys(pages) if not SKIP.search(p)]
    takes = {r['path']: r['takes'] for r in routes}
    queue: list[Step] = []

    async def visit(s: Step) -> None:
        answer = await run.take(s)
        if not answer: return
        queue.extend(actions(answer))
        place = answer.get('location')
        if place and place.startswith('/') and 300 <= answer['status'] < 400:
            parts = urlsplit(place)
            then = await run.take({'method': 'GET', 'url': parts.path, 'data': dict(parse_qsl(parts.query))})
            if then: queue.extend(actions(then))

    for p in pages[:20]:
        data = {n: word(n, t) for n, t in takes.get(p, [])}
        await visit({'method': 'GET', 'url': p, 'data': data})
    rank = {'GET': 1, 'DELETE': 2}
    for _ in range(2):
        now, queue[:] = sorted(queue, key=lambda s: rank.get(s['method'], 0)), []
        for s in now[:40]: await visit(s)
    for r in routes:
        if SKIP.search(r['path']): continue
        if r['methods'] == ['WS']:
            data = {n: word(n, t) for n, t in r['takes']}
            data.setdefault('msg', 'a msg')
            await run.take({'method': 'WS', 'url': r['path'], 'data': {**data, 'HEADERS': {'HX-Request': 'true'}}})
    for r in routes:
        if SKIP.search(r['path']) or r['methods'] == ['WS']: continue
        kinds = dict(r['takes'])
        for m in sorted(set(r['methods']) - {'HEAD', 'OPTIONS'}, key=lambda m: rank.get(m, 0)):
            if m == 'GET' and '{' not in r['path']: continue
            known = {re.sub(r'\d+|[0-9a-f-]{36}', '1', s['url']) for s in run.steps if s['method'] == m}
            if r['path'] in known: continue
            data = {n: word(n, t) for n, t in r['takes'] if f'{{{n}' not in r['path']}
            await visit({'method': m, 'url': filled(r['path'], kinds), 'data': data, 'hx': True})
    for p in pages[:8]: await run.take({'method': 'GET', 'url': p, 'data': {n: word(n, t) for n, t in takes.get(p, [])},
                                        'again': True})
    await run.take({'method': 'GET', 'url': '/no-such-page'})


async def use(port: int, routes: list[dict[str, Any]], steps: list[Step] | None) -> list[Step]:
    "All steps of one run."
    async with httpx.AsyncClient(timeout=REQUEST, trust_env=False) as client:
        run = Answered(f'http://127.0.0.1:{port}', client)
        if steps is None: await explore(run, routes)
        else:
            for s in steps: await run.take({**s, 'again': True})
        return run.steps


def alone() -> None:
    "A network namespace of its own, with 127.0.0.1 and nothing else, for this process, where the system lets it."
    libc = ctypes.CDLL(None, use_errno=True)
    user, net = 0x1000_0000, 0x4000_0000 # CLONE_NEWUSER, CLONE_NEWNET
    if libc.unshare(net) and libc.unshare(user | net): return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, contextlib.suppress(OSError):
        flags = struct.unpack('16sh14x', fcntl.ioctl(s, 0x8913, struct.pack('16sh14x', b'lo', 0)))[1] # SIOCGIFFLAGS
        fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', flags | 1)) # SIOCSIFFLAGS, IFF_UP


def start(task: dict[str, Any], say: int, log: int) -> None:
    "In a child: the application, until it is killed."
    os.setsid()
    for n, to in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)): os.dup2(n, to)
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
    os.environ.clear()
    os.environ |= task['env']
    os.chdir(task['cwd'])
    random.seed() # Each child begins with what its parent had
    if numpy := sys.modules.get('numpy'): numpy.random.seed()
    try: probe.main(task['side'], task['file'], task['root'], task.get('name', ''), say)
    finally: os._exit(1)


def once(task: dict[str, Any]) -> dict[str, Any]:
    "Start, use, end. What the application wrote to its log is returned, too."
    alone()
    told_end, say = os.pipe()
    with tempfile.TemporaryFile() as log:
        if not (child := os.fork()): start(task, say, log.fileno())
        os.close(say)
        try:
            line = b''
            until = time.monotonic() + START
            while not line.endswith(b'\n') and select.select([told_end], [], [], max(0, until - time.monotonic()))[0]:
                if not (more := os.read(told_end, 1 << 16)): break
                line += more
            told: dict[str, Any] = json.loads(line or b'{"failed": "it ends, or does not start in time"}')
            if 'port' in told:
                told['steps'] = asyncio.run(use(told['port'], told['routes'], task.get('steps')))
        finally:
            with contextlib.suppress(ProcessLookupError): os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        log.seek(0)
        told['log'] = log.read()[-6000:].decode('utf-8', 'replace')
        return told


def main(side: str) -> None:
    "One child for each line."
    for name in probe.USUAL[side]:
        with contextlib.suppress(ImportError): importlib.import_module(name)
    for line in sys.stdin:
        task, to = line.split()
        if not os.fork():
            try: told = once(json.loads(Path(task).read_text()))
            except BaseException as e: told = {'failed': f'the run: {type(e).__name__}: {e}', 'log': ''}
            Path(to + '.part').write_text(json.dumps(told))
            os.rename(to + '.part', to)
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]: pass


if __name__ == '__main__': main(sys.argv[1])
