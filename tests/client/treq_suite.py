"""treq's own tests of a client against a server, on our agent: ``python -m twisted.trial tests.client.treq_suite``.

They are treq's to the letter; only the agent is another. They need ``httpbin``, which treq starts by itself.
"""

from __future__ import annotations

from typing import Any

from treq.test import test_treq_integration as treqs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.ssl import Certificate, trustRootFromCertificates

from hardhttp.client import Agent, HTTPClient
from hardhttp.testing.misbehaving import serve


class _OnOurs:
    """Puts our agent where the stock one was, and sees that it is left with nothing."""

    agent: Any
    _httpbin_process: Any

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()  # type: ignore[misc]
        description = yield self._httpbin_process.server_description(reactor)
        root = trustRootFromCertificates([Certificate.loadPEM(description.cacert)]) if description.cacert else None
        self.agent = Agent(reactor, trust_root=root, proxy=self.proxy())

    def proxy(self) -> str | None:
        return None

    @inlineCallbacks
    def tearDown(self) -> Any:
        yield self.agent.close()
        assert not any(self.agent.ledger.snapshot().values())
        yield super().tearDown()  # type: ignore[misc]


def _ours(method: str, *names: str) -> Any:
    """``treq.get`` and the others by our client; ``names`` are those of what may stand behind the URL."""

    def ask(self: Any, url: str, *behind: Any, **options: Any) -> Any:
        options |= dict(zip(names, behind, strict=False))
        return getattr(HTTPClient(self.agent), method)(self.baseurl + url, **options)

    return ask


class OurClientTests(_OnOurs, treqs.TreqIntegrationTests):
    """treq's ``HTTPClient`` is ours too."""

    get, head, delete = _ours("get", "headers"), _ours("head"), _ours("delete")
    post, put, patch_ = _ours("post", "data"), _ours("put", "data"), _ours("patch", "data")


class PlainTests(_OnOurs, treqs.TreqIntegrationTests):
    pass


class SecureTests(_OnOurs, treqs.HTTPSTreqIntegrationTests):
    pass


class TunnelledTests(SecureTests):
    """All of it through a tunnel, by a proxy that closes."""

    peer: Any

    def proxy(self) -> str | None:
        self.peer = serve(reactor, "tunnel-closing")
        return self.peer.url

    @inlineCallbacks
    def tearDown(self) -> Any:
        yield super().tearDown()
        yield Deferred.fromCoroutine(self.peer.stop())
        assert self.peer.connections.ever
