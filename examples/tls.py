"""HTTPS, with a certificate made for this machine, and HTTP that leads to it.

    python examples/tls.py
    curl --cacert PATH https://localhost:PORT/        what it prints

With files of your own, or a directory of them (certbot's /etc/letsencrypt/live), it is one line:
``listen(reactor, "tls:443:/etc/letsencrypt/live", site)``. They are read again when they change.
"""

import sys
from pathlib import Path
from socket import gethostname

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.web.resource import Resource

from hardhttp import HTTPSRedirect, Site, TLSPolicy, listen
from hardhttp.net.selfsigned import development_certificate


class Secure(Resource):
    isLeaf = True

    def render_GET(self, request):
        shown = request.client_certificate
        who = "nobody we know" if shown is None else shown.common_name
        return f"{request.client_info.scheme} for {who}\n".encode()


@inlineCallbacks
def main():
    folder = Path(sys.argv[2] if sys.argv[2:] else "development-certificate")
    certificate, _ = development_certificate(folder, gethostname(), reactor.seconds())
    where = f"tls:0:{folder}:interface=127.0.0.1"
    secure = yield listen(reactor, where, Site(Secure()), tls=TLSPolicy(minimum="1.3"))
    port = secure.getHost().port
    print(f"https://localhost:{port}/ --cacert {certificate.files.certificate}", flush=True)

    plain = Site(HTTPSRedirect(Resource(), port=port, covers={"localhost", "127.0.0.1"}.__contains__))
    where = f"tcp:{sys.argv[1] if sys.argv[1:] else 8080}:interface=127.0.0.1"
    listening = yield listen(reactor, where, plain)
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)


if __name__ == "__main__":
    main()
    reactor.run()
