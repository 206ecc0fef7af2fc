"""Scrapy's downloads by hardhttp's agent: tunnels that are closed when they are refused, and a bound on everything.

    python examples/scrapy_handler.py https://example.com/
    python examples/scrapy_handler.py https://example.com/ http://user:password@proxy.example:3128

In a project, `BoundedDownloadHandler` goes into the settings, and nothing else changes:

    DOWNLOAD_HANDLERS = {"http": "handlers.BoundedDownloadHandler", "https": "handlers.BoundedDownloadHandler"}

Scrapy's middleware goes on choosing the proxy (`request.meta["proxy"]`, or the environment), following redirects,
decoding bodies and trying again. `DOWNLOAD_MAXSIZE`, `DOWNLOAD_TIMEOUT` and the numbers of concurrent requests are
the agent's limits here.
"""

import sys
from collections import OrderedDict

import attrs
from scrapy import Request, Spider
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.http import Headers, Response
from scrapy.responsetypes import responsetypes
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.web.client import readBody
from twisted.web.http_headers import Headers as FieldLines

from hardhttp.client import Agent, BytesBody, ClientLimits, Proxy

# Each proxy has an agent, with its connections; those used last are kept.
MAX_PROXIES = 20


class BoundedDownloadHandler(BaseDownloadHandler):
    """Downloads `http` and `https`."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        most = settings.getint("DOWNLOAD_MAXSIZE") or None
        self._limits = ClientLimits(
            max_connections=settings.getint("CONCURRENT_REQUESTS"),
            max_connections_per_host=settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN"),
            max_body_bytes=most,
            total_seconds=settings.getfloat("DOWNLOAD_TIMEOUT"),
        )
        self._agents: OrderedDict[Proxy | None, Agent] = OrderedDict()

    async def download_request(self, request: Request) -> Response:
        fields = FieldLines(dict(request.headers))
        # Scrapy's middleware takes the credentials out of the proxy's URL and puts them here. They are for it alone.
        credentials = fields.getRawHeaders(b"Proxy-Authorization", [None])[0]
        fields.removeHeader(b"Proxy-Authorization")
        agent = await self._agent(request.meta.get("proxy"), credentials)
        timeout = request.meta.get("download_timeout")
        asked = agent.request(
            request.method.encode(),
            request.url.partition("#")[0].encode(),
            fields,
            BytesBody(request.body) if request.body else None,
            limits=attrs.evolve(self._limits, total_seconds=timeout) if timeout else None,
        )
        response = await maybe_deferred_to_future(asked)
        body = await maybe_deferred_to_future(readBody(response))
        headers = Headers(dict(response.headers.getAllRawHeaders()))
        kind = responsetypes.from_args(headers=headers, url=request.url, body=body)
        return kind(url=request.url, status=response.code, headers=headers, body=body, protocol="HTTP/1.1")

    async def _agent(self, url: str | None, credentials: bytes | None) -> Agent:
        from twisted.internet import reactor

        proxy = attrs.evolve(Proxy.parse(url), authorization=credentials) if url else None
        agent = self._agents.pop(proxy, None) or Agent(reactor, self._limits, proxy=proxy)
        self._agents[proxy] = agent
        if len(self._agents) > MAX_PROXIES:
            _, longest_unused = self._agents.popitem(last=False)
            await maybe_deferred_to_future(longest_unused.close())
        return agent

    async def close(self) -> None:
        while self._agents:
            _, agent = self._agents.popitem()
            await maybe_deferred_to_future(agent.close())


class OnePage(Spider):
    """Asks for one page, and says what came of it."""

    name = "one_page"
    url = ""
    proxy = ""

    async def start(self):
        yield Request(self.url, meta={"proxy": self.proxy} if self.proxy else {}, errback=self.failed)

    def parse(self, response: Response):
        print(f"{response.status} {len(response.body)} bytes of {response.url}", flush=True)

    def failed(self, failure):
        print(f"failed: {failure.value}", flush=True)


if __name__ == "__main__":
    process = CrawlerProcess(
        {
            "DOWNLOAD_HANDLERS": {"http": BoundedDownloadHandler, "https": BoundedDownloadHandler},
            "RETRY_ENABLED": False,
            "LOG_LEVEL": "WARNING",
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(OnePage, url=sys.argv[1], proxy=sys.argv[2] if len(sys.argv) > 2 else "")
    process.start()
