# What the variables of speedups.py are in C. Read by Cython when nbws is built (setup.py), and by nothing else.
cimport cython
from libc.string cimport memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport (PyUnicode_AsEncodedString, PyUnicode_DATA, PyUnicode_DecodeUTF8, PyUnicode_GET_LENGTH, PyUnicode_KIND,
                              PyUnicode_READ, PyUnicode_Substring)

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)

cpdef str escape(str text)

cdef class UsualElement:
    cdef public object tag, _children, _attrs
    cdef public dict _raw

cdef extern from *:
    """
    #define MADE_BY_TYPE(kind, arguments) ((PyTypeObject*)(kind))->tp_new((PyTypeObject*)(kind), (arguments), NULL)
    """
    object MADE_BY_TYPE(object kind, object arguments)

cdef inline object allocated(object kind):
    return MADE_BY_TYPE(kind, ()) # By Cython: a class in Python has no other way

@cython.locals(el=UsualElement)
cpdef object new_element(kind, tag, tuple children, dict attrs)

cpdef bint all_of(tuple things, kind)

cpdef bint is_elements(thing, kind)

# HTML that is being written, in UTF-8. `spare_html` is one that is needed no more, to be used again
cdef extern from *:
    """
    typedef struct { char* data; Py_ssize_t size, room; int ascii, surrogates; } Html;
    static Html* spare_html = NULL;

    /* Whether one of eight characters may have to be escaped: is 0x26, or 0x3c or 0x3e, which differ in one bit */
    static inline int has_special(unsigned long long word) {
        unsigned long long ones = 0x0101010101010101ull, amp = word ^ (ones * 0x26), angle = (word & ~(ones * 2)) ^ (ones * 0x3c);
        return (((amp - ones) & ~amp) | ((angle - ones) & ~angle)) & (ones * 0x80) ? 1 : 0;
    }
    """
    ctypedef struct Html:
        char* data
        Py_ssize_t size, room
        bint ascii, surrogates
    Html* spare_html
    bint has_special(unsigned long long word)

cdef inline Html* begin_html() except NULL:
    global spare_html
    cdef Html* html = spare_html
    spare_html = NULL
    if html == NULL:
        html = <Html*>PyMem_Calloc(1, sizeof(Html))
        if html == NULL:
            raise MemoryError()
    html.size, html.ascii, html.surrogates = 0, True, False
    return html

cdef inline void end_html(Html* html) noexcept:
    global spare_html
    if spare_html == NULL and html.room <= 65536:
        spare_html = html
    else:
        PyMem_Free(html.data)
        PyMem_Free(html)

cdef inline char* html_room(Html* html, Py_ssize_t size) except NULL: # Where so many bytes may be written
    cdef Py_ssize_t room
    cdef char* data
    if html.size + size >= html.room:
        room = (html.size + size) * 2 + 1024
        data = <char*>PyMem_Realloc(html.data, room)
        if data == NULL:
            raise MemoryError()
        html.data, html.room = data, room
    return html.data + html.size

cdef inline bytes html_encoded(Html* html, text):
    html.ascii = False
    try:
        return PyUnicode_AsEncodedString(text, NULL, NULL)
    except UnicodeEncodeError:
        html.surrogates = True
        return PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass")

cdef inline int put_bytes(Html* html, const char* data, Py_ssize_t size) except -1:
    memcpy(html_room(html, size), data, size)
    html.size += size
    return 0

cdef inline int put(Html* html, text) except -1:
    cdef bytes encoded
    if not isinstance(text, str):
        raise TypeError('HTML is text')
    if PyUnicode_IS_ASCII(text):
        return put_bytes(html, <const char*>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
    encoded = html_encoded(html, text)
    return put_bytes(html, PyBytes_AS_STRING(encoded), len(encoded))

cdef inline int escape_bytes(Html* html, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t at = 0, begun = 0
    cdef unsigned long long word
    while at < size:
        if at + 8 <= size:
            memcpy(&word, data + at, 8)
            if not has_special(word):
                at += 8
                continue
        if data[at] == c'&' or data[at] == c'<' or data[at] == c'>':
            put_bytes(html, data + begun, at - begun)
            if data[at] == c'&':
                put_bytes(html, "&amp;", 5)
            elif data[at] == c'<':
                put_bytes(html, "&lt;", 4)
            else:
                put_bytes(html, "&gt;", 4)
            begun = at + 1
        at += 1
    return put_bytes(html, data + begun, size - begun)

cdef inline int put_escaped(Html* html, text) except -1:
    cdef bytes encoded
    if PyUnicode_IS_ASCII(text):
        return escape_bytes(html, <const char*>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
    encoded = html_encoded(html, text)
    return escape_bytes(html, PyBytes_AS_STRING(encoded), len(encoded))

cdef inline Py_ssize_t html_size(Html* html) noexcept:
    return html.size

cdef inline void cut_html(Html* html, Py_ssize_t size) noexcept:
    html.size = size

cdef inline str html_text(Html* html):
    try:
        if not html.ascii:
            return PyUnicode_DecodeUTF8(html.data, html.size, "surrogatepass")
        made = PyUnicode_New(html.size, 127)
        if html.size:
            memcpy(PyUnicode_DATA(made), html.data, html.size)
        return made
    finally:
        end_html(html)

cdef inline bytes html_bytes(Html* html):
    if html.surrogates:
        return html_text(html).encode() # Raises
    try:
        return PyBytes_FromStringAndSize(html.data, html.size)
    finally:
        end_html(html)

cdef class Renderer:
    cdef readonly object element
    cdef object safe, shape, attribute, opening, lasting, other
    cdef dict shapes, attributes

    @cython.locals(html='Html*')
    cpdef str element_text(self, UsualElement el)

    @cython.locals(html='Html*')
    cpdef str any_text(self, thing)

    @cython.locals(html='Html*', body=list)
    cpdef bytes document(self, list parts, title, str opening, str hdrs, ftrs, dict attrs, frozenset in_head, tag_of)

cdef dict _NO_VALUES

cdef int DEEPEST

@cython.locals(begun=Py_ssize_t, attrs=dict, known=dict)
cdef object _open(Renderer to, Html* html, UsualElement el, str start)

@cython.locals(shape=tuple, start=str, text=str, closing=str, begun=Py_ssize_t, attrs=dict)
cdef object _add(Renderer to, Html* html, UsualElement el, int depth)

cdef object _add_any(Renderer to, Html* html, thing, int depth)

cdef bint _lasts(Renderer to, child, int depth) except -1

cdef list _TEXT_HEADS, _BINARY_HEADS

cpdef bytes encode(int opcode, bytes payload, bint packed=*)

cdef inline bytes text_frame(str text):
    cdef Py_ssize_t size = len(text)
    if size > 125 or not PyUnicode_IS_ASCII(text):
        return encode(1, text.encode())
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size + 2)
    cdef char* wire = PyBytes_AS_STRING(made)
    wire[0], wire[1] = <char>0x81, <char>size
    memcpy(wire + 2, PyUnicode_DATA(text), size)
    return made

cpdef bytes frame(data)

cpdef str mark(str epoch, offset)

@cython.locals(parts=list)
cpdef list parts_of(messages, bint resumes)

@cython.locals(text=str, seqs=list, messages=list, parts=list, seq=cython.longlong, last=cython.longlong, at=Py_ssize_t, end=Py_ssize_t,
               size=Py_ssize_t, kept=bint)
cpdef tuple messages_apart(bytes heads, bytes said, str epoch, long long offset, new)

cdef inline void take_mask_off(const char* masked, char* payload, Py_ssize_t size) noexcept:
    cdef unsigned long long mask = 0, word
    cdef Py_ssize_t n = 0
    memcpy(&mask, masked, 4)
    memcpy(<char*>&mask + 4, masked, 4)
    while n + 8 <= size:
        memcpy(&word, masked + 4 + n, 8)
        word ^= mask
        memcpy(payload + n, &word, 8)
        n += 8
    while n < size:
        payload[n] = masked[n + 4] ^ masked[n & 3]
        n += 1

cdef inline bytes unmasked(bytes data, Py_ssize_t at, Py_ssize_t stop, unmask):
    cdef Py_ssize_t size = stop - at - 4
    if size > 255:
        return unmask(data[at:at + 4], data[at + 4:stop])
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    take_mask_off(PyBytes_AS_STRING(data) + at, PyBytes_AS_STRING(made), size)
    return made

cdef inline str unmasked_text(bytes data, Py_ssize_t at, Py_ssize_t stop, unmask):
    cdef Py_ssize_t size = stop - at - 4
    cdef char plain[255]
    if size > 255:
        return (<bytes>unmask(data[at:at + 4], data[at + 4:stop])).decode()
    take_mask_off(PyBytes_AS_STRING(data) + at, plain, size)
    return PyUnicode_DecodeUTF8(plain, size, NULL)

@cython.locals(end=Py_ssize_t, start=Py_ssize_t, stop=Py_ssize_t, size=Py_ssize_t, first=int)
cpdef Py_ssize_t take_usual(bytes data, Py_ssize_t at, list events, Py_ssize_t budget, limit, unmask) except -1

cdef class ShortReader:
    cdef public object limit, idle, unmask, inflater
    cdef public bint more
    cdef public Py_ssize_t partial

    cpdef list feed(self, bytes data, Py_ssize_t budget=*)

    @cython.locals(size=Py_ssize_t, plain=bytes)
    cpdef object short(self, bytes data)

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN, PYGEN_ERROR, PYGEN_NEXT
    PySendResult PyIter_Send(PyObject* iterator, PyObject* value, PyObject** result) except PYGEN_ERROR
    void Py_DECREF(PyObject* thing)

cdef inline object first_step(object coroutine, object waits):
    cdef PyObject* found = NULL
    cdef bint ended = PyIter_Send(<PyObject*>coroutine, <PyObject*>None, &found) == PYGEN_RETURN
    result = <object>found
    Py_DECREF(found) # It was ours, and `result` has one of its own
    return result if ended else waits(result)

cdef class UsualRequest
cdef class UsualSocket

cdef class BoundFrom:
    cdef public UsualRequest request
    cdef public object data, headers, ws, message, extra

cpdef object by_name(values, name)

@cython.locals(r=UsualRequest, plain=dict)
cpdef object find_value(BoundFrom s, name, field)

cdef class Named:
    cdef object name, field, as_it_is, other

    cpdef object bind(self, BoundFrom source)

@cython.locals(found=dict)
cpdef dict bind_all(tuple parameters, rest, BoundFrom source)

cdef inline tuple bind_positional(tuple parameters, BoundFrom source):
    cdef Py_ssize_t n, size = len(parameters)
    cdef tuple made = PyTuple_New(size)
    for n in range(size):
        bind = (<tuple>parameters[n])[1]
        value = Named.bind(<Named>bind, source) if isinstance(bind, Named) else bind(source)
        Py_INCREF(value)
        PyTuple_SET_ITEM(made, n, value)
    return made

# Of text from `at` to `end`: where spaces end, and where a string ends that has no escapes; -1 where it has, or no end
cdef inline Py_ssize_t behind_spaces(int kind, void* text, Py_ssize_t at, Py_ssize_t end) noexcept:
    while at < end and PyUnicode_READ(kind, text, at) == ' ':
        at += 1
    return at

cdef inline Py_ssize_t end_of_string(int kind, void* text, Py_ssize_t at, Py_ssize_t end) noexcept:
    cdef Py_UCS4 c
    while at < end:
        c = PyUnicode_READ(kind, text, at)
        if c == '"':
            return at
        if c < ' ' or c == '\\': # A control character, or an escape
            return -1
        at += 1
    return -1

cdef inline bint word_at(int kind, void* text, Py_ssize_t at, Py_ssize_t end, const char* word) noexcept:
    while word[0]:
        if at >= end or PyUnicode_READ(kind, text, at) != <Py_UCS4>word[0]:
            return False
        at += 1
        word += 1
    return True

# The object whose brace stands at place[0], which is moved behind it; None where it is not of the plainest kind
cdef inline dict plain_object(str whole, int kind, void* text, Py_ssize_t* place, Py_ssize_t end, bint within):
    cdef Py_ssize_t at = place[0], stop
    cdef long long number
    cdef bint negative
    cdef Py_UCS4 c
    cdef dict found = {}
    if at >= end or PyUnicode_READ(kind, text, at) != '{':
        return None
    at = behind_spaces(kind, text, at + 1, end)
    if at < end and PyUnicode_READ(kind, text, at) == '}':
        place[0] = at + 1
        return found
    while at < end and PyUnicode_READ(kind, text, at) == '"':
        stop = end_of_string(kind, text, at + 1, end)
        if stop < 0:
            return None
        name = PyUnicode_Substring(whole, at + 1, stop)
        at = behind_spaces(kind, text, stop + 1, end)
        if at >= end or PyUnicode_READ(kind, text, at) != ':':
            return None
        at = behind_spaces(kind, text, at + 1, end)
        c = PyUnicode_READ(kind, text, at) if at < end else 0
        if c == '"':
            stop = end_of_string(kind, text, at + 1, end)
            if stop < 0:
                return None
            value = PyUnicode_Substring(whole, at + 1, stop)
            at = stop + 1
        elif c == '{' and not within:
            value = plain_object(whole, kind, text, &at, end, True)
            if value is None:
                return None
        elif c == '-' or '0' <= c <= '9':
            negative, number = c == '-', 0
            at += negative
            stop = at
            while at < end and at - stop < 16 and '0' <= PyUnicode_READ(kind, text, at) <= '9':
                number = number * 10 + <long long>PyUnicode_READ(kind, text, at) - 48
                at += 1
            if at == stop or at - stop > 15 or (at - stop > 1 and PyUnicode_READ(kind, text, stop) == '0'):
                return None
            value = -number if negative else number
        elif word_at(kind, text, at, end, "true"):
            value = True
            at += 4
        elif word_at(kind, text, at, end, "false"):
            value = False
            at += 5
        elif word_at(kind, text, at, end, "null"):
            value = None
            at += 4
        else:
            return None
        found[name] = value
        at = behind_spaces(kind, text, at, end)
        if at >= end:
            return None
        c = PyUnicode_READ(kind, text, at)
        if c == '}':
            place[0] = at + 1
            return found
        if c != ',': # Or what makes a number another one
            return None
        at = behind_spaces(kind, text, at + 1, end)
    return None

cdef inline dict plain_fields(str text):
    cdef Py_ssize_t at = 0, end = len(text)
    found = plain_object(text, PyUnicode_KIND(text), PyUnicode_DATA(text), &at, end, False)
    return found if at == end else None

@cython.locals(text=str, size=Py_ssize_t)
cpdef object usual_fields(data, scan, most, Py_ssize_t crowd, Py_ssize_t depth, bint plain=*)

@cython.locals(found=dict)
cpdef dict take_header(fields)

cdef dict _LOWER

cdef class Waits:
    cdef public object on

cdef class UsualOutput

cdef class UsualQueue:
    cdef public object broadcast
    cdef public list waiting
    cdef public bint due
    cdef public double since
    cdef public Py_ssize_t count, alone

    cpdef object add(self, thing)

    @cython.locals(waiting=list)
    cpdef object flush(self)

    @cython.locals(out=UsualOutput)
    cpdef object put_all(self, outs, bytes data)

cdef double SOON
cdef Py_ssize_t ALONE

cdef extern from *:
    """
    #ifdef _WIN32
    static Py_ssize_t send_at_once(int fd, const char* data, Py_ssize_t size) { return -1; }
    #else
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    static Py_ssize_t send_at_once(int fd, const char* data, Py_ssize_t size) {
        return send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    #endif
    """
    Py_ssize_t send_at_once(int fd, const char* data, Py_ssize_t size)

cdef inline Py_ssize_t send_now(int fd, bytes data) noexcept:
    return send_at_once(fd, PyBytes_AS_STRING(data), len(data)) # What failed, the transport tries again, and tells

cdef class UsualOutput:
    cdef public object transport, group
    cdef public UsualQueue queue
    cdef public bint above, collects, behind
    cdef public bytes held
    cdef public int fd, unasked

    @cython.locals(queue=UsualQueue)
    cpdef object write(self, bytes data)

    @cython.locals(queue=UsualQueue)
    cpdef object settle(self)

    @cython.locals(sent=Py_ssize_t)
    cpdef object put(self, bytes data)

    @cython.locals(held=bytes)
    cpdef object flush(self)

cdef Py_ssize_t _SHORT

cdef class UsualConn:
    cdef public int state
    cdef public double waited
    cdef public bint pinged, alive
    cdef public UsualOutput out
    cdef public object deflater
    cdef public Py_ssize_t longest

    cpdef object send(self, data)

cdef class UsualInput:
    cdef public UsualConn conn
    cdef public ShortReader decoder
    cdef public object receiver
    cdef public Py_ssize_t unread
    cdef public bint announced

    @cython.locals(conn=UsualConn)
    cpdef object receive(self, bytes data)

    @cython.locals(conn=UsualConn, out=UsualOutput, decoder=ShortReader)
    cpdef object handle(self, events)

cdef class UsualOutbox:
    cdef public object conn
    cdef public bint lags
    cdef public Py_ssize_t unsent

    cpdef object push(self, data, overflow=*)

cdef class UsualJob:
    cpdef object begin(self, item)

cdef class UsualParked:
    cdef public object task, context, clean, job
    cdef public bint cancelled

cdef class UsualWorkers:
    cdef public object loop, budget
    cdef public list parked
    cdef public bint closing

    @cython.locals(parked=UsualParked)
    cpdef object begin(self, UsualJob job, item)

cdef class UsualDispatcher(UsualJob):
    cdef public UsualSocket socket
    cdef public object inbox, task
    cdef public UsualWorkers workers
    cdef public bint busy, at_step
    cdef public int held

    cpdef object start(self, item)
    cpdef object begin(self, item)
    cpdef object run(self, item)
    cpdef object over(self, bint ended=*)

cdef class UsualRouter:
    cdef public object table

cdef class UsualSocket:
    cdef public object app, endpoint, table, pull
    cdef public UsualRequest handshake
    cdef public BoundFrom source
    cdef public UsualRouter router
    cdef public UsualOutbox outbox
    cdef public UsualDispatcher dispatcher

    @cython.locals(dispatcher=UsualDispatcher)
    cpdef object received(self, data)

cdef class UsualStats:
    cdef public Py_ssize_t hits

cdef class UsualRoute:
    cdef public UsualStats stats
    cdef public object endpoint
    cdef public bint may_change

cdef extern from "Python.h":
    bint PyFunction_Check(object thing)
    PyObject* PyFunction_GET_CODE(object function)

cdef inline object code_of(object function):
    return <object>PyFunction_GET_CODE(function) if PyFunction_Check(function) else function.__code__

cdef class MessageRunner:
    cdef public object app, function, others, code, scan, empty
    cdef public UsualRoute route
    cdef public tuple parameters
    cdef public bint direct, needs_fields, plain
    cdef public Py_ssize_t crowd, depth, longest
    cdef public Renderer renderer

    @cython.locals(stats=UsualStats)
    cpdef object message(self, UsualSocket ws, data, bint later=*)

    cpdef object run(self, UsualSocket ws, data)

    @cython.locals(source=BoundFrom, request=UsualRequest)
    cdef object arguments(self, UsualSocket ws, data)

    @cython.locals(text=str, outbox=UsualOutbox)
    cdef object say(self, UsualSocket ws, result)

@cython.locals(k=bytes)
cpdef bint has_field(headers, bytes name) except -1

cdef class UsualRequest:
    cdef public object method, target, headers, peer, server, scheme, root_path, http_version, upgrade, app, route
    cdef public object path_params, asgi_scope, connection, since, answered, begun_session, max_form, raw_body
    cdef public object decoded_path, parsed_query, parsed_cookies, own_state, added_headers, _form, prefix, direct
    cdef public object framed, vouched, asgi_receive, outbox

cpdef object begin_request(UsualRequest request, method, target, headers, body, peer, server, scheme, root_path,
                           http_version, upgrade, max_form)

@cython.locals(target=bytes, raw=str)
cpdef object path_of(UsualRequest request)

cdef class UsualResponse:
    cdef public object status_code, background, headers, body

cdef class UsualExchange:
    cdef public object request, chunks, body, refusal, agreed
    cdef public bint keep, complete, deferred, expects, usual, plain
    cdef public Py_ssize_t length, size
    cdef public double seconds

    cpdef object begin(self, request, bint keep)

cdef inline bytes plain_target(bytes line):
    cdef Py_ssize_t n, size = len(line) - 9
    cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(line)
    if size < 5 or memcmp(text, b"GET /", 5) or memcmp(text + size, b" HTTP/1.1", 9):
        return None
    for n in range(5, size):
        if text[n] != 33 and (text[n] < 36 or text[n] > 126):
            return None
    return line[4:size]

cdef class UsualServer

cdef class UsualParser:
    cdef public UsualServer server
    cdef public object peer, local, max_form, incoming
    cdef public int stage
    cdef public Py_ssize_t work
    cdef public list queue
    cdef public bytes line
    cdef public tuple last, kinds

    @cython.locals(fields=bytes, size=Py_ssize_t, target=bytes, request=UsualRequest, exchange=UsualExchange)
    cpdef bint again(self, bytes data) except -1

cdef class UsualPages:
    cdef public object title, hdrs, ftrs, htmlkw, bodykw, body_wrap, canonical, tag_of
    cdef public dict heads
    cdef public Renderer renderer
    cdef public str opening
    cdef public frozenset in_head

    @cython.locals(kept=tuple, made=bytes)
    cpdef bytes page(self, content, request)

cpdef bint wants_fragment(UsualRequest request) except -1

cdef class ElementAnswers:
    cdef readonly object element
    cdef object naming, fragment, kind, fields
    cdef tuple usual

    @cython.locals(response=UsualResponse)
    cpdef object answer(self, content, request, page)

cdef class UsualRelocation:
    cdef public object events

    cpdef object leave(self, UsualRequest request, response)

cdef class UsualGate:
    cdef public object any_host, proxies, secret, direct
    cdef public set known
    cdef public frozenset asked, safe

    cpdef object enter(self, UsualRequest request)

cdef class UsualServer:
    cdef public object app, layers, limits, loop, workers, scheme, date
    cdef public bint stopping
    cdef public bytes head
    cdef public tuple head_of

    cpdef bint begins(self, UsualResponse response) except -1

cdef inline bytes whole_answer(bytes head, bytes body):
    cdef char digits[24]
    cdef Py_ssize_t begun = len(head), size = len(body), left = size, at = 24
    while True:
        at -= 1
        digits[at] = 48 + left % 10
        left //= 10
        if not left:
            break
    cdef bytes made = PyBytes_FromStringAndSize(NULL, begun + 24 - at + 4 + size)
    cdef char* to = PyBytes_AS_STRING(made)
    memcpy(to, PyBytes_AS_STRING(head), begun)
    memcpy(to + begun, digits + at, 24 - at)
    to += begun + 24 - at
    memcpy(to, b"\r\n\r\n", 4)
    memcpy(to + 4, PyBytes_AS_STRING(body), size)
    return made

cdef class UsualWriter:
    cdef public UsualOutput out
    cdef public UsualServer server
    cdef public object task
    cdef public bint lost, events

    @cython.locals(server=UsualServer)
    cpdef object send(self, UsualExchange exchange, UsualResponse response, last=*)

cdef class PageRunner:
    cdef public object function, others, code, source, empty
    cdef public tuple parameters
    cdef public bint direct, reads

    @cython.locals(source=BoundFrom)
    cpdef object begin(self, UsualRequest request)

cdef class RequestSteps:
    cdef public object app
    cdef public UsualRouter router
    cdef public frozenset usual
    cdef public str assets
    cdef public bint overridden
    cdef public ElementAnswers answers

    cpdef object begin(self, UsualRequest request)

    @cython.locals(target=bytes, path=str, exact=dict, route=UsualRoute)
    cpdef object answer(self, UsualRequest request)

    @cython.locals(stats=UsualStats)
    cpdef object handle(self, UsualRequest request, UsualRoute route, params)

    cpdef object handled(self, UsualRequest request, UsualRoute route)

    cpdef object finished(self, UsualRequest request, UsualResponse response)

cdef class UsualStack:
    cdef public list enters
    cdef public object leaves
    cdef public bytes own

    @cython.locals(target=bytes)
    cpdef object begin(self, app, UsualRequest request)

cdef int _IDLE, _HEAD, _BODY, _ENDED, _REQUEST

cdef class UsualRequestInput:
    cdef public UsualServer server
    cdef public UsualOutput out
    cdef public UsualExchanges exchanges
    cdef public UsualParser parser
    cdef public bytes rest
    cdef public bint full, paused, yields, eof, ended, over

    @cython.locals(of=UsualExchanges, parser=UsualParser, out=UsualOutput, stage=int)
    cpdef object receive(self, bytes data)

cdef class UsualExchanges(UsualJob):
    cdef public UsualServer server
    cdef public object link
    cdef public UsualRequestInput input
    cdef public UsualParser parser
    cdef public UsualExchange current
    cdef public UsualOutput out
    cdef public UsualWriter answers
    cdef public bint served, lingering, advancing
    cdef public double waited

    cdef bint current_complete(self)

    @cython.locals(parser=UsualParser, queue=list, exchange=UsualExchange)
    cpdef object advance(self)

    @cython.locals(request=UsualRequest, exchange=UsualExchange, server=UsualServer)
    cpdef object begin(self, item)

    cpdef object done(self, UsualExchange exchange)

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef inline object begin_within(object context, UsualJob job, object item):
    PyContext_Enter(context)
    try: # By their classes: see "The way of a message"
        if isinstance(job, UsualDispatcher):
            return UsualDispatcher.begin(<UsualDispatcher>job, item)
        if isinstance(job, UsualExchanges):
            return UsualExchanges.begin(<UsualExchanges>job, item)
        return job.begin(item)
    finally:
        PyContext_Exit(context)
