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
