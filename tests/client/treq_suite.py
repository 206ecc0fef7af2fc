"""treq's own tests of a client against a server, on our agent: ``python -m twisted.trial tests.client.treq_suite``.

They are treq's to the letter; only the agent is another. They need ``httpbin``, which treq starts by itself.
"""

from __future__ import annotations

from typing import Any

from treq.test import test_treq_integration as treqs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.ssl import Certificate, trustRootFromCertificates

from hardhttp.client import Agent
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
