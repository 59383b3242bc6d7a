# What the variables of speedups.py are in C. Read by Cython when nbws is built (setup.py), and by nothing else.
cimport cython

cpdef str escape(str text)

cdef class Renderer:
    cdef readonly object element
    cdef object safe, shape, attribute, opening, lasting, other
    cdef dict shapes, attributes

    @cython.locals(parts=list)
    cpdef str element_text(self, el)

    @cython.locals(parts=list)
    cpdef str any_text(self, thing)

cdef dict _NO_VALUES

@cython.locals(start=str, text=str, closing=str, begun=Py_ssize_t, attrs=dict, known=dict)
cdef object _add(Renderer to, list parts, el, int depth)

cdef object _add_any(Renderer to, list parts, thing, int depth)

cdef bint _lasts(Renderer to, child, int depth) except -1

cdef list _TEXT_HEADS, _BINARY_HEADS

cpdef bytes encode(int opcode, bytes payload, bint packed=*)

@cython.locals(payload=bytes, size=Py_ssize_t)
cpdef bytes frame(data)

@cython.locals(end=Py_ssize_t, start=Py_ssize_t, stop=Py_ssize_t, size=Py_ssize_t, first=int, payload=bytes)
cpdef Py_ssize_t take_usual(bytes data, Py_ssize_t at, list events, Py_ssize_t budget, limit, unmask) except -1

cdef class ShortReader:
    cdef public object limit, idle, unmask

    @cython.locals(size=Py_ssize_t)
    cpdef list feed(self, bytes data, Py_ssize_t budget=*)

from cpython.object cimport PyObject

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

cdef class BoundFrom:
    cdef public object request, data, headers, ws, message, extra

cpdef object by_name(values, name)

cpdef object find_value(BoundFrom s, name, field)

@cython.locals(found=dict)
cpdef dict bind_all(tuple parameters, rest, BoundFrom source)

@cython.locals(text=str, size=Py_ssize_t)
cpdef object usual_fields(data, scan, longest, Py_ssize_t depth)

@cython.locals(found=dict)
cpdef dict take_header(fields)

cdef class Waits:
    cdef public object on

cdef class MessageRunner:
    cdef public object function, others, scan, crowd, empty
    cdef public tuple parameters
    cdef public bint direct, needs_fields
    cdef public Py_ssize_t depth
    cdef public Renderer renderer

    @cython.locals(arguments=dict)
    cpdef object run(self, ws, data)

    @cython.locals(source=BoundFrom)
    cpdef dict arguments(self, ws, data)

    @cython.locals(text=str)
    cpdef object say(self, ws, result)
