"""Behind a proxy: whose request it is, as the proxy at 127.0.0.1 tells, and a log of JSON that knows it too.

    curl -H 'X-Forwarded-For: 192.0.2.43' -H 'X-Forwarded-Proto: https' http://127.0.0.1:8080/

With PROXY_PROTOCOL=1 in the environment connections from 127.0.0.1 must begin with a PROXY header, as
HAProxy's "send-proxy" and nginx's "proxy_protocol on" send:

    curl --haproxy-protocol http://127.0.0.1:8080/
"""

import os
import sys

from twisted.internet import reactor
from twisted.web.resource import Resource

from hardhttp import Site, listen
from hardhttp.web.accesslog import AccessLog


class WhoAsks(Resource):
    isLeaf = True

    def render_GET(self, request):
        info = request.client_info
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return (
            f"{info.address} asks for {info.scheme}://{info.host}:{info.port}, by way of {info.seen}\n"
            f"secure: {request.isSecure()}, id: {request.request_id}\n"
        )


def main():
    site = Site(WhoAsks())
    site.trusted_proxies = ["127.0.0.1", "unix"]
    site.access_log = log = AccessLog("-", reactor, format="json")
    log.open()
    reactor.addSystemEventTrigger("after", "shutdown", log.close)
    where = f"tcp:{sys.argv[1] if sys.argv[1:] else 8080}:interface=127.0.0.1"
    listening = listen(reactor, where, site, proxy_protocol="PROXY_PROTOCOL" in os.environ)
    listening.addCallback(lambda port: print(f"http://127.0.0.1:{port.getHost().port}/", flush=True))


if __name__ == "__main__":
    main()
    reactor.run()
