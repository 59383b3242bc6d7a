"""What is below everything else: data, requests, answers, routes, elements.

By this path FastHTML has its own core, so `from nbws.core import FastHTML` finds the names of `nbws.common`, too.
"""


def __getattr__(name: str) -> object:
    "FastHTML's names, `__all__` for a star import among them; modules of this folder are found by their files."
    import sys
    from importlib import import_module
    from importlib.util import find_spec
    if name != '__all__' and (name.startswith('_') or find_spec(f'{__name__}.{name}')):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    common = import_module('nbws.common')
    return vars(common)[name] if name in vars(common) else common.for_frame(name, sys._getframe(1))
