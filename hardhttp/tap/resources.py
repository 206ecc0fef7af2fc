"""What ``twistd hardhttp`` serves when it is told to: a directory, an application, or both.

``WebrootOver`` lays a directory's files over an application's tree; ``load_app`` finds that tree by its name.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from importlib import import_module
from typing import Any

from twisted.python import usage
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from hardhttp.interfaces import IStreamingResource
from hardhttp.web.static import StaticFiles

__all__ = ["WebrootOver", "load_app"]


@implementer(IStreamingResource)
class WebrootOver(Resource):
    """An application's tree, with the files of a webroot laid over its first level.

    It provides ``IStreamingResource`` only so that a resource of the application may.
    """

    def __init__(self, webroot: StaticFiles, app: IResource) -> None:
        super().__init__()
        self._webroot, self._app = webroot, app

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        # The segment is given back: each sees the way from its own beginning.
        request.postpath.insert(0, request.prepath.pop())
        return self._webroot if self._webroot.has(path) else self._app


def load_app(named: str) -> IResource:
    """The resource that ``MODULE:NAME`` stands for; the current directory is searched too."""
    module_name, colon, name = named.partition(":")
    if not (module_name and colon and name):
        raise usage.UsageError(f"--app is {named!r}; it must be MODULE:NAME, such as shop.web:root")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        why = f"there is no module {error.name!r} here or on sys.path" if missing else _where(error)  # type: ignore[attr-defined]
        raise usage.UsageError(f"--app {named}: {why}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise usage.UsageError(f"--app {named}: {module_name} has no {name!r}")
        found = getattr(found, part)
    if not IResource.providedBy(found) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise usage.UsageError(f"--app {named}: calling it failed: {_where(error)}") from error
    if not IResource.providedBy(found):
        if inspect.iscoroutine(found):
            found.close()
        raise usage.UsageError(f"--app {named}: a {type(found).__name__} is neither an IResource nor returns one")
    resource: IResource = found
    return resource


def _where(error: BaseException) -> str:
    """An exception in one line, with the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if not frame.filename.startswith("<frozen ")][-1]
    return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
