"""The asking half of a request: its query, its body as JSON, as text or as a form, its cookies.

Everything is made when it is asked for, inside the site's ``limits``. What a client got wrong is raised
as ``HTTPError``, which answers this request and lets the connection go on: by then the body has been
read whole. (``request.args`` raises a ``Fault`` for the same, as it always did, and that ends the
connection.) A form that is refused is counted by its reason.

The state is here only as far as it must end with the request: the form that has been read, whose
uploads are windows on the body. ``Request._release`` closes it.

The functions below do the same for any ``IRequest``, such as one of ``twisted.web``'s own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from io import SEEK_END
from typing import IO, TYPE_CHECKING, Any, cast

from multipart import parse_options_header

from hardhttp.errors import Fault, HTTPError, LimitFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.web.body import BodyStore
from hardhttp.web.bodystream import BodyPieces, KeptPieces
from hardhttp.web.forms import BLOCK_BYTES, Args, Form, FormBody, FormReader, form_reader, query_fields, read_form
from hardhttp.web.formstream import FormStream
from hardhttp.web.lazy import lazy
from hardhttp.web.multidict import MultiDict
from hardhttp.web.uploads import Upload
from hardhttp.wire.charsets import UTF_8, text_codec
from hardhttp.wire.cookies import cookie_text
from hardhttp.wire.formdata import boundary_of
from hardhttp.wire.jsonbody import JSONError, parse_json

if TYPE_CHECKING:
    from hardhttp.web.streaming import StreamedBody

__all__ = ["Asking", "form_of", "json_of", "query_of", "text_of"]


# -- of any request ----------------------------------------------------------------------------


def query_of(request: Any, limits: Limits) -> MultiDict[str]:
    """The query of an ``IRequest``; see ``Asking.query``."""
    with _answering(request):
        return query_fields(request.uri.partition(b"?")[2], limits)


def json_of(request: Any, limits: Limits, *, any_type: bool = False, unique_keys: bool = False) -> Any:
    """The JSON body of an ``IRequest``; see ``Asking.json``."""
    kind, options = parse_options_header(_content_type(request))
    if not any_type:
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise HTTPError(415, "the body must be JSON, with Content-Type: application/json")
        if text_codec(options.get("charset", UTF_8)) not in (UTF_8, "ascii"):
            raise HTTPError(415, "JSON is UTF-8 (RFC 8259, 8.1)")
    if _size(request) > limits.max_json_bytes:
        with _answering(request):
            raise LimitFault(413, Reason.BODY_BYTES, f"the JSON is longer than {limits.max_json_bytes} bytes")
    try:
        return parse_json(_whole(request.content), limits.max_json_depth, unique_keys=unique_keys)
    except JSONError as error:
        detail = str(error)
    raise HTTPError(400, detail)


def text_of(request: Any, charset: str = UTF_8) -> str:
    """The body of an ``IRequest`` as text; see ``Asking.text``."""
    codec = text_codec(parse_options_header(_content_type(request))[1].get("charset", charset))
    if codec is None:
        raise HTTPError(415, "the charset of the body is not known")
    try:
        return _whole(request.content).decode(codec)
    except ValueError:
        pass
    raise HTTPError(400, f"the body is not in its charset, {codec}")


def form_of(request: Any, limits: Limits, charset: str | None = None) -> Form:
    """The form of an ``IRequest``; see ``Asking.form``. Its uploads are open until ``content`` is closed."""
    with _answering(request):
        reader = _form_reader(request, limits, charset)
        return Form() if reader is None else read_form(reader, request.content).form(limits)


def _form_reader(request: Any, limits: Limits, charset: str | None) -> FormReader | None:
    """What reads the form; ``None`` where there is no body, and no type of one."""
    content_type = _content_type(request)
    reader = form_reader(content_type, limits, charset=charset)
    received: int = getattr(request, "receivedBytes", 0)
    if reader is None and (content_type or received):
        raise PeerFault(415, Reason.BAD_FORM, "the body must be a form, urlencoded or multipart")
    return reader


def _content_type(request: Any) -> str:
    value: bytes | str | None = request.getHeader(b"content-type")
    return value.decode("latin-1") if isinstance(value, bytes) else value or ""


def _size(request: Any) -> int:
    """How long the body is, without reading it."""
    received: int | None = getattr(request, "receivedBytes", None)
    if received is None:
        received = request.content.seek(0, SEEK_END)
    return received


def _whole(content: IO[bytes]) -> bytes:
    content.seek(0)
    whole = content.read()
    content.seek(0)
    return whole


class _answering:
    """A fault of the client's becomes an answer, and is counted where there is somebody to count it.

    No generator: the frames of one would hold the fault, and the fault them.
    """

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Fault):
            raise _refusal(self._request, error) from None  # kept in no name: that would be a circle


def _refusal(request: Any, fault: Fault) -> HTTPError:
    if isinstance(request, Asking):
        request.site.server.refused(fault.reason, fault.detail)
    return HTTPError(fault.status, fault.detail)


# -- of ours ------------------------------------------------------------------------------------


class Asking:
    """What ``hardhttp.web.request.Request`` is asked; that class makes the attributes used here."""

    site: Any
    uri: bytes
    method: bytes
    receivedBytes: int
    content: IO[bytes]
    received_cookies: dict[bytes, bytes]
    _streamed: StreamedBody | None
    _store: BodyStore | None

    # The form that has been read; what holds the body open.
    _form_body: FormBody | None = None
    _form: Form | None = None
    _body_is_taken = False

    @lazy
    def query(self) -> MultiDict[str]:
        """The target's query as text, in order.

        A ``%`` that begins no code stays as it is; bytes that are not UTF-8 become U+FFFD. Raises
        ``HTTPError`` (413) past ``max_form_fields``, before anything is decoded.
        """
        return query_of(self, self.site.limits)

    @lazy
    def user_data(self) -> dict[Any, Any]:
        """A dict for whatever the application wants to keep with this request."""
        return {}

    def cookie(self, name: str) -> str | None:
        """The value of a cookie, the first one of that name, or ``None``: the text given to ``Response.set_cookie``.

        Percent codes are decoded, and quotes around it are gone; what is not UTF-8 becomes U+FFFD. As it came
        it is in ``received_cookies``, in bytes.
        """
        value = self.received_cookies.get(name.encode("utf-8"))
        return None if value is None else cookie_text(value)

    # -- a body that is whole -----------------------------------------------------------------

    def json(self, *, any_type: bool = False, unique_keys: bool = False) -> Any:
        """The body as JSON, parsed anew at each call.

        Raises ``HTTPError``: 415 unless Content-Type is ``application/json`` or ``application/*+json``
        (``any_type`` takes any) in UTF-8; 413 past ``max_json_bytes``; 400 for an empty body, for what is
        no JSON, with the line and the column, and for more than ``max_json_depth`` arrays and objects
        within each other. Of two equal names in an object the last one counts; with ``unique_keys`` they
        are a 400.
        """
        self._must_be_whole()
        return json_of(self, self.site.limits, any_type=any_type, unique_keys=unique_keys)

    def text(self, charset: str = UTF_8) -> str:
        """The body as text, in the charset of its Content-Type, or else in ``charset``.

        Raises ``HTTPError``: 415 for a charset that is not known, 400 for a body that is not in it.
        """
        self._must_be_whole()
        return text_of(self, charset)

    def form(self, charset: str | None = None) -> Form:
        """The body as a form, urlencoded or multipart, whatever the method; an empty one where there is no body.

        ``charset`` is that of a form that names none; UTF-8 when it is left out. Uploads are open until
        the request ends. The form is read at once: 10 MiB take some ten milliseconds, and ``load_form``
        takes turns with everything else.

        Raises ``HTTPError``: 415 for another type or a charset that is not known; 400 for a malformed
        form, or a field that is not in its charset; 413 past ``max_form_fields``, ``max_form_files``,
        or ``max_form_bytes`` of text.
        """
        self._must_be_whole()
        if self._form is None:
            with _answering(self):
                if self._form_body is None or charset is not None:
                    reader = _form_reader(self, self.site.limits, charset)
                    self._keep(None if reader is None else read_form(reader, self.content))
                self._decode()
        return cast(Form, self._form)

    @property
    def uploads(self) -> MultiDict[Upload]:
        """The files of the form; see ``form``."""
        return self.form().files

    def _must_be_whole(self) -> None:
        if self._streamed is not None and self._store is None:
            raise RuntimeError("the body comes as a stream: await load_form(), or take body_stream() or stream_form()")

    def _keep(self, body: FormBody | None) -> None:
        if self._form_body is not None:
            self._form_body.close()
        self._form_body = body

    def _decode(self) -> None:
        body = self._form_body
        self._form = Form() if body is None else body.form(self.site.limits)

    def _form_args(self) -> Args:
        """The form's part of ``args``: text may be as long as a body. Raises ``Fault``."""
        if self._form_body is None:
            limits = self.site.limits
            reader = form_reader(_content_type(self), limits, max_text_bytes=limits.max_body_bytes)
            if reader is None:
                return {}
            self._keep(read_form(reader, self.content))
        return cast(FormBody, self._form_body).args()

    # -- a body that comes ----------------------------------------------------------------------

    def body_stream(self) -> AsyncIterator[bytes]:
        """The body in pieces, none of them empty, with backpressure; once.

        For a handler that is called at the head, the pieces are as they arrive; for others they are blocks
        of what has been read. Raises ``hardhttp.web.bodystream.ClientLeft`` when the client goes.
        """
        if self._streamed is None:
            return KeptPieces(self, self.content, BLOCK_BYTES, self.site.server.clock)
        if self._body_is_taken:
            raise RuntimeError("the body is taken already")
        self._body_is_taken = True
        pieces = BodyPieces()
        self.deliverBody(pieces)  # type: ignore[attr-defined]
        return pieces

    def stream_form(self, charset: str | None = None) -> FormStream:
        """The parts of a multipart form as they arrive; once. See ``FormStream``.

        Raises ``HTTPError``: 415 for another type or an unknown charset, 400 for a boundary that is none.
        """
        with _answering(self):
            content_type = _content_type(self)
            kind, options = parse_options_header(content_type)
            if kind != "multipart/form-data":
                raise PeerFault(415, Reason.BAD_FORM, "the body must be multipart/form-data")
            codec = text_codec(options.get("charset", charset or UTF_8))
            if codec is None:
                raise PeerFault(415, Reason.BAD_FORM, "the form's charset is not known")
            boundary = boundary_of(content_type)
        return FormStream(self.body_stream(), boundary, self.site.limits, partial(_refusal, self), codec)

    async def load_form(self, charset: str | None = None) -> Form:
        """The same as ``form``, read in turns with everything else: as the body arrives, where the handler
        was called at its head, and else a block at a time."""
        if self._form is not None:
            return self._form
        with _answering(self):
            reader = _form_reader(self, self.site.limits, charset)
        if reader is None:
            self._form = Form()
            return self._form
        pieces = self.body_stream()
        store = None
        if self._streamed is not None:
            store = self._store = BodyStore(self.site.limits.spool_bytes)  # counted and released as any body
        async for piece in pieces:
            if store is not None:
                store.write(piece)
            with _answering(self):
                reader.feed(piece)
        if store is not None:
            self.__dict__.pop("content", None)  # the empty one
        with _answering(self):
            self._keep(reader.end(self.content))
            self._decode()
        return cast(Form, self._form)
