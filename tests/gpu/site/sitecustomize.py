"""A process whose path this is on has a GPU by name as soon as it imports torch."""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class Finder(importlib.abc.MetaPathFinder):
    """Finds torch, once."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec("torch")
        assert found is not None
        assert found.loader is not None
        loaded = found.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            ctypes.CDLL(os.environ["STAND_IN_BACKEND"], mode=ctypes.RTLD_GLOBAL)
            loaded(module)
            importlib.import_module("tests.gpu.patches").install()

        found.loader.exec_module = exec_module  # type: ignore[method-assign]
        return found


sys.meta_path.insert(0, Finder())
