"Refreshes reach the pages of all processes that serve an app."
from __future__ import annotations

import json
import re
from typing import Any

from bound import BOUND, until
from live import Live, live
from redises import Make

from nbws.common import App, Div, P
from nbws.core.protocols import Broker

STATE: dict[str, Any] = {'value': 0}


def board(broker: Broker) -> Any:
    app = App(secret_key='sixteen characters or more')
    app.broker, app.origin = broker, app.origin._replace(number=1)

    @app.part
    def score(who: str = 'all') -> Any: return P(f'{who} {STATE["value"]}')

    @app.get('/')
    def home() -> Any: return Div(score(), score(who='Ada'), score(who='Bob'))
    app.score = score
    return app


class Page:
    "A page of a process, which shows all its parts."
    def __init__(self, server: Live) -> None:
        found = re.findall(r'data-nbws-part="([^"]+)" data-nbws-version="([^"]*)"', server.get('/').text)
        self.ws = server.ws('/_nbws/parts')
        for ref, (part, version) in enumerate(found):
            self.ws.send(json.dumps({'show': ref, 'part': part, 'version': version, 'values': {}}))
            assert json.loads(self.ws.recv(BOUND))['ref'] == ref

    def hears(self, *texts: str) -> None:
        "Wait until these have come, in any order. The second rendering of an element is a difference."
        wanted = set(texts)
        while wanted:
            text = str(self.ws.recv(BOUND))
            if not text.startswith('{'): wanted -= {t for t in wanted if f'<p>{t}</p>' in text}


def test_a_part(make: Make) -> None:
    STATE['value'] = 0
    with live(board(make())) as one, live(board(make())) as two:
        pages, app = [Page(one), Page(two)], one.app
        STATE['value'] = 1
        assert app.score.refresh() == 3 # type: ignore[attr-defined] # In this process
        for page in pages: page.hears('all 1', 'Ada 1', 'Bob 1')


def test_a_part_with_some_arguments(make: Make) -> None:
    STATE['value'] = 0
    with live(board(make())) as one, live(board(make())) as two:
        page, app = Page(two), one.app
        before = app.score.version # type: ignore[attr-defined]
        STATE['value'] = 2
        app.score.refresh(who='Ada') # type: ignore[attr-defined]
        page.hears('Ada 2')
        assert app.score.version != before # type: ignore[attr-defined]
        page, STATE['value'] = Page(two), 3
        app.score.refresh(who=object()) # type: ignore[attr-defined] # It can be said to nobody: all
        page.hears('all 3', 'Ada 3', 'Bob 3')


def test_pages(make: Make) -> None:
    with live(board(make())) as one, live(board(make())) as two:
        page, app = Page(two), one.app
        app.refresh('/') # type: ignore[attr-defined]
        assert json.loads(page.ws.recv(BOUND)) == {'refresh': ''}
        def elsewhere() -> str: return 'elsewhere'
        app.get(elsewhere) # type: ignore[attr-defined]
        app.refresh('/elsewhere') # type: ignore[attr-defined]
        app.refresh('table') # type: ignore[attr-defined]
        assert json.loads(page.ws.recv(BOUND)) == {'refresh': 'table'}


def test_a_loop_that_refreshes_is_few_messages(make: Make) -> None:
    STATE['value'] = 0
    with live(board(make())) as one, live(board(make())) as two:
        page, app, told = Page(two), one.app, list[str]()
        peers = app.rooms.peers # type: ignore[attr-defined]
        say = peers.say
        peers.say = lambda kind, what, keep=True: [told.append(kind), say(kind, what, keep)][1]
        for value in *range(1, 1000), 'at last': # Of one more number only the difference might come
            STATE['value'] = value
            app.score.refresh() # type: ignore[attr-defined]
        page.hears('all at last')
        assert told.count('refresh') < 500


def test_what_a_timer_refreshes_is_its_own_processs(make: Make) -> None:
    "It runs in each."
    with live(board(make())) as one, live(board(make())):
        app, told, calls = one.app, list[str](), list[int]()
        peers = app.rooms.peers # type: ignore[attr-defined]
        say = peers.say
        peers.say = lambda kind, what, keep=True: [told.append(kind), say(kind, what, keep)][1]

        @app.every(.001) # type: ignore[attr-defined]
        def tick() -> None:
            calls.append(1)
            app.score.refresh() # type: ignore[attr-defined]
        until(lambda: len(calls) > 20)
        assert 'refresh' not in told
        app.score.refresh() # type: ignore[attr-defined]
        until(lambda: 'refresh' in told)
