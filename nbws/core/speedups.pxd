# What the variables of speedups.py are in C. Read by Cython when nbws is built (setup.py), and by nothing else.
cimport cython

cpdef str escape(str text)

cdef class Renderer:
    cdef object element, safe, shape, attribute, opening, lasting, other
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
