"""Modules that are loaded when something in them is asked for, not when they are imported.

Belongs here: putting such modules in place before a library that imports them. Does not belong here: which they are
(`bridge.py`). Python's own lazy loader is no help: importing a module that waits is enough to make it load.
"""

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def defer(*names: str) -> None:
    """Let the modules be imported for nothing; one that is loaded already, or not installed, stays as it is."""
    for name in names:
        if name not in sys.modules and (spec := find_spec(name)) is not None:
            module = sys.modules[name] = _Deferred(name)
            module.__spec__ = spec
            module.__file__ = spec.origin


class _Deferred(ModuleType):
    """Stands for a module, in whatever has imported it, also once that is loaded."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)
