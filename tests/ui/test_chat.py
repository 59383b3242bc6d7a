"The elements of a chat, as a handler uses them."
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import pytest
from live import BOUND, live
from logs import ExpectLog

from nbws.app import App
from nbws.core.html import render
from nbws.ui.chat import ChatInput, ChatList, ChatMessage, StopButton
from nbws.ui.markdown import Markdown, MarkdownStream, is_harmless, stream_markdown


def test_elements_have_names_for_those_who_do_not_see() -> None:
    assert 'role="log"' in render(ChatList()) and 'aria-label="Messages"' in render(ChatList())
    assert 'aria-label="Say something"' in render(ChatInput(placeholder='Say something'))
    assert 'aria-label="text"' in render(ChatInput())


@pytest.mark.parametrize('how', [{'hx_post': '/say'}, {'action': '/say', 'method': 'post'}, {'ws_send': True}, {}])
def test_how_an_input_is_sent(how: dict[str, Any]) -> None:
    assert ('ws-send' in render(ChatInput(**how))) == (how in ({'ws_send': True}, {}))


def test_a_visitors_text_is_text() -> None:
    html = render(ChatMessage('<script>go()</script>', by='<b>me</b>'), Markdown('<img src=x onerror=go()>'))
    assert '<script>go' not in html and '<b>' not in html and '<img' not in html


@pytest.mark.parametrize('text', [
    '[x](javascript:go())', '[x](JAVASCRIPT:go())', '[x](java&#115;cript:go())', '[x](&#1;javascript:go())',
    '[x](vbscript:go())', '[x](data:text/html,<script>go()</script>)', '[x](blob:x)', '[x](file:///etc/passwd)',
    '<javascript:go()>', '[x]: javascript:go()\n[x]', '![x](javascript:go())', '[x](java\tscript:go())',
    '[x](<java script:go()>)', '<a href="javascript:go()">x</a>', '![x](data:image/svg+xml,<svg onload=go()>)'])
def test_no_link_runs_a_script(text: str) -> None:
    html = render(Markdown(text))
    urls = [re.sub(r'[\s\x00-\x20]', '', unescape(url)).lower() for url in re.findall('(?:href|src)=\"([^\"]*)', html)]
    assert not [url for url in urls if re.match('(javascript|vbscript|data|file|blob):', url)] and '<img' not in html


def test_what_an_image_would_tell_is_told_when_it_is_clicked() -> None:
    assert '<img' not in render(Markdown('![cat](https://example.org/?secret)'))
    assert '<img' in render(Markdown('![cat](/cat.png)', trusted=True))


def test_a_link_may_lead_within_the_app() -> None:
    assert all(map(is_harmless, ['/a:b', '#x', '?q=a:b', 'page', 'mailto:a@example.org', '//example.org', './a:b']))


def test_a_long_text_costs_little(expect_log: ExpectLog) -> None:
    "A stranger's text, made to be slow to read."
    for text in ('[' * 100_000, '![' * 50_000, '*_' * 50_000, '>' * 100_000, '- ' * 50_000):
        assert len(render(Markdown(text))) < 10_000_000
    assert '<pre>' in render(Markdown('a' * 100_001))


async def tokens(text: str, breaks: bool = False) -> AsyncIterator[str]:
    for letter in text:
        await asyncio.sleep(0)
        yield letter
    if breaks: raise ValueError('the model is away')


@pytest.mark.parametrize('kind', ['async', 'generator', 'list'])
def test_a_handler_returns_a_stream(kind: str) -> None:
    "Of tokens of any kind."
    app, stream = App(), MarkdownStream(id='a')
    @app.ws('/')
    async def ask(q: str) -> Any:
        source = tokens(q) if kind == 'async' else (c for c in q) if kind == 'generator' else list(q)
        return stream_markdown(source, to='talk', stream=stream)
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"q": "*hi*"}')
        got = [ws.recv(BOUND)]
        while 'aria-busy' in got[-1]: got.append(ws.recv(BOUND))
        assert got[0].startswith('<div id="talk" hx-swap-oob="beforeend"><div id="a"')
        assert got[-1] == '<div id="a-0" hx-swap-oob="true"><p><em>hi</em></p>\n</div>'
        assert stream.text == '*hi*'


def test_the_tokens_break_off(expect_log: ExpectLog) -> None:
    "The page says so, nothing in it stays busy, and the developer gets the error."
    expect_log('the model is away', 1)
    app = App(debug=True)
    @app.ws('/')
    async def ask(q: str) -> Any: return stream_markdown(tokens(q, True), stream=MarkdownStream(id='a'))
    with live(app) as c:
        ws = c.ws('/')
        ws.send('{"q": "`a"}')
        got = [ws.recv(BOUND)]
        while 'broke off' not in got[-1]: got.append(ws.recv(BOUND))
        assert any('id="a-0" hx-swap-oob="true"><p>`a' in x for x in got)


def test_a_stop_button_is_for_the_socket_it_stands_in() -> None:
    assert 'ws-send' in render(StopButton()) and 'disabled' in render(StopButton())
