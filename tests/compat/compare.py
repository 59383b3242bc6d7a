"""Two runs of one application, compared: what a visitor would notice, and nothing else."""
from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any

from bs4 import BeautifulSoup, Comment, NavigableString, Tag
from bs4.element import Doctype

# What the two frameworks put into the head of every page: by address, and by what stands in it.
ADDRESS = re.compile(r'/_nbws/|npm/htmx|htmx\.org|unpkg\.com/htmx|fasthtml-js|surreal@|css-scope-inline|pico')
INLINE = re.compile(r'--pico-font-size|LiveReload|function sendmsg|importmap|nbws|'
                    r'import \{ ?marked ?\}|import \{Sortable\}|hljs\.addPlugin|from .https://[^\n]*katex|'
                    r'sessionStorage\.setItem\("sid"|fh-toast|toast-container')
GENERATED = re.compile(r'(?<![\w-])_[A-Za-z0-9_-]{20,24}(?![\w-])|\bid[A-Za-z0-9_-]{22}\b|'
                       r'\bu?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b')
OPTIONS = {'live', 'ws-hdr', 'ct-hdr'} # Of older FastHTMLs; today's writes what it does not know into the body
MISSING = 'Missing required field' # FastHTML sends it over a socket, as if it were content
HEAD = re.compile(r'<(title|link|meta|script|style)\b')
FLAGS = {'checked', 'selected', 'disabled', 'required', 'readonly', 'multiple', 'autofocus', 'hidden', 'open', 'defer',
         'async', 'autoplay', 'loop', 'muted', 'controls', 'novalidate', 'nomodule'}


def masked(text: str) -> str:
    "A text without ids that were made up, and without this run's port."
    text = re.sub(r'(?<=/npm/)([\w./-]+)@[\w.]+', r'\1', GENERATED.sub('ID', text)) # Whatever version it is
    return re.sub(r'127\.0\.0\.1:\d+|localhost:\d+', 'HERE', text)


def outline(html: str) -> list[str]:
    "A page as lines: each tag with its attributes in order of name, each text. The framework's own head is left out."
    soup = BeautifulSoup(html, 'html.parser')
    lines: list[str] = []

    def walk(node: Tag, depth: int) -> None:
        for child in node.children:
            if isinstance(child, Tag):
                if frameworks_own(child): continue
                if child.name in ('html', 'head', 'body') and not list(attributes(child)): walk(child, depth); continue
                lines.append(' ' * depth + f'<{child.name}{"".join(attributes(child))}>')
                walk(child, depth + 1)
            elif isinstance(child, NavigableString) and not isinstance(child, (Comment, Doctype)):
                text = ' '.join(masked(str(child)).split())
                if text: lines.append(' ' * depth + text)

    walk(soup, 0)
    return lines


def frameworks_own(tag: Tag) -> bool:
    "What stands in the head of every page of one of them."
    if tag.name == 'meta': return bool(tag.get('charset')) or tag.get('name') == 'viewport'
    if tag.name == 'title': return tag.text.strip() in ('FastHTML page', 'nbws page', '')
    if tag.name not in ('script', 'link', 'style'): return False
    address = str(tag.get('src') or tag.get('href') or '')
    if address: return bool(ADDRESS.search(address)) or tag.get('rel') == ['canonical']
    return bool(INLINE.search(str(tag)))


def attributes(tag: Tag) -> Iterator[str]:
    for given, value in sorted(tag.attrs.items()):
        name = given.rstrip('-') or given # FastHTML writes `class_=` as `class-`
        text = ' '.join(value) if isinstance(value, list) else str(value)
        if name.startswith('reload-') or name in OPTIONS: continue # FastHTML's live reload
        if name in FLAGS: yield f' {name}'; continue
        if name in ('hx-boost', 'hx-disable') and text == 'true': text = '' # What htmx wants is the word
        if name == 'class': text = ' '.join(sorted(text.split()))
        yield f' {name}="{masked(" ".join(text.split()))}"'


def body(step: dict[str, Any]) -> list[str]:
    "What an answer says, as lines to compare."
    text, kind = step.get('body', ''), step.get('type', '')
    if step['status'] >= 400: return [] # The status tells; how an error reads is each framework's own
    if kind == 'text/html' or (kind in ('websocket', 'text/event-stream') and '<' in text):
        return [line for line in sorted_head(outline(text)) if not line.strip().startswith(MISSING)]
    if kind == 'application/json':
        try: return json.dumps(json.loads(text), sort_keys=True, indent=1).splitlines()
        except ValueError: pass
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith(MISSING))
    return [' '.join(masked(line).split()) for line in lines]


def sorted_head(lines: list[str]) -> list[str]:
    "Links, scripts, styles and the title, whose order in the head is each framework's own, come first and sorted."
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith(' ') and blocks: blocks[-1].append(line)
        else: blocks.append([line])
    heads = [b for b in blocks if HEAD.match(b[0])]
    return [line for b in [*sorted(heads), *(b for b in blocks if not HEAD.match(b[0]))] for line in b]


def same(a: dict[str, Any], b: dict[str, Any]) -> str:
    "How an answer differs from the wanted one; '' where it does not."
    if a['status'] != b['status']: return f'status {a["status"]} -> {b["status"]}'
    if a['status'] >= 400: return ''
    for part in ('type', 'location', 'hx_headers', 'end'):
        x, y = (masked(str(s.get(part, ''))).replace('hx-hx-', 'hx-') for s in (a, b)) # FastHTML doubles it
        x, y = (re.sub(r'^text/xml|^image/(vnd\.microsoft\.icon|x-icon)', 'one of its two names', v).replace(
            'application/xml', 'one of its two names') for v in (x, y))
        if x != y: return f'{part} {x} -> {y}'
    cookies = [{c for c in s.get('cookies', []) if not c.startswith('session')} for s in (a, b)]
    if cookies[0] - cookies[1]: return f'cookies {cookies[0]} -> {cookies[1]}'
    x, y = body(a), body(b)
    if a.get('type') == 'text/event-stream': x, y = (lines[:min(len(x), len(y), 6)] for lines in (x, y))
    if x == y: return ''
    return 'body:\n' + '\n'.join(list(difflib.unified_diff(x, y, 'fasthtml', 'nbws', n=0, lineterm=''))[2:14])


def told_by_chance(a: dict[str, Any]) -> bool:
    "Whether an answer of FastHTML's holds nothing to compare: it failed, or shows what is no package here."
    crashed = a['status'] == 0 or a['status'] >= 500 or a.get('end') == 'closed 1006'
    return crashed or 'magicmock' in a.get('body', '').lower()


def differences(first: list[dict[str, Any]], second: list[dict[str, Any]] | None,
                ours: list[dict[str, Any]]) -> list[tuple[str, str]]:
    "(the request, how its answer differs) for the steps in which FastHTML itself answers alike twice."
    found = []
    for i, (a, b) in enumerate(zip(first, ours, strict=False)):
        if told_by_chance(a): continue
        why = same(a, b)
        again = second[i] if why and second and i < len(second) else None
        if again and a.get('type') == 'text/event-stream' == again.get('type'): # Of which one run may tell more
            why = same(*({**s, 'body': '\n'.join(s['body'].splitlines()[:again['body'].count('\n')])} for s in (a, b)))
        if why and again and same(a, again):
            why = why if why.startswith('status') and a['status'] == again['status'] else ''
        if why: found.append((f'{a["method"]} {a["url"]}', why))
    return found
