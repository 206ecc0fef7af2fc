"""What ``twistd hardhttp`` serves when it is told to: a directory, an application, or both.

``Webroot`` is ``twisted.web.static.File`` with what should not be served left out; ``WebrootOver``
lays one over an application's tree; ``load_app`` finds that tree by its name. Nothing is kept
between requests: a file added, changed or removed is seen by the next one.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from importlib import import_module
from typing import Any

from twisted.python import usage
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.static import File
from zope.interface import implementer

from hardhttp.interfaces import IStreamingResource

__all__ = ["Webroot", "WebrootOver", "load_app"]


class Webroot(File):
    """A directory's files, and nothing that was not put there to be served.

    No listings, no names that begin with a dot (but ``.well-known``: RFC 8615), no pipes and
    devices. A file of unknown type is not taken for HTML. Of several ranges none is honoured
    (RFC 9110, 14.2 allows it): a thousand overlapping ones would ask for a thousand copies.
    """

    def __init__(self, path: str, defaultType: str = "application/octet-stream", *args: Any) -> None:
        super().__init__(path, defaultType, *args)
        self.indexNames = ["index.html"]

    def has(self, segment: bytes) -> bool:
        """Whether ``segment`` names something here that may be served."""
        if not segment or b"\0" in segment or (segment.startswith(b".") and segment != b".well-known"):
            return False
        path = os.path.join(os.fsencode(self.path), segment)
        return b"/" not in segment and (os.path.isfile(path) or os.path.isdir(path))

    def getChild(self, path: bytes, request: IRequest) -> IResource:
        if path and not self.has(path):
            return self.childNotFound
        child: IResource = super().getChild(path, request)
        return child

    def directoryListing(self) -> Resource:
        return self.childNotFound

    def makeProducer(self, request: Any, fileForReading: Any) -> Any:
        if b"," in (request.getHeader(b"range") or b""):
            request.requestHeaders.removeHeader(b"range")
        return super().makeProducer(request, fileForReading)


@implementer(IStreamingResource)
class WebrootOver(Resource):
    """An application's tree, with the files of a webroot laid over its first level.

    It provides ``IStreamingResource`` only so that a resource of the application may.
    """

    def __init__(self, webroot: Webroot, app: IResource) -> None:
        super().__init__()
        self._webroot, self._app = webroot, app

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        if self._webroot.has(path):
            return self._webroot.getChildWithDefault(path, request)
        # The segment is given back: the application sees the way from its own beginning.
        request.postpath.insert(0, request.prepath.pop())
        return self._app


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
