"""The options of ``twistd hardhttp`` that are not limits: their names, defaults and help, in groups.

What is parsed, what ``--help`` prints and in which order is all made from this table.
"""

from __future__ import annotations

import attrs

__all__ = ["GROUPS", "OPTIONS", "Option"]


@attrs.frozen
class Option:
    """``value`` is what stands for the value in the help; without one it is a flag. ``several``: may be repeated."""

    name: str
    help: str
    value: str | None = None
    default: str | None = None
    several: bool = False


GROUPS: dict[str, tuple[Option, ...]] = {
    "What is served, and where:": (
        Option(
            "listen",
            (
                "listen on this endpoint (strports: tcp:80, tls:443:PATH, unix:/run/http); a socket of it that systemd "
                "passes is taken; systemd:NAME are those of a name, systemd: the rest; may be repeated"
            ),
            "tcp:8080:interface=127.0.0.1",
            several=True,
        ),
        Option(
            "webroot",
            "serve the files below this directory, but no dotfiles; with --app, what is in it goes first",
            "DIRECTORY",
        ),
        Option("app", "serve MODULE:NAME: an IResource, or a callable that returns one", "MODULE:NAME"),
        Option("no-http2", "speak HTTP/1.1 alone; else HTTP/2 is spoken too, where the h2 library is installed"),
        Option("development", "show tracebacks in error pages: never where strangers can see them"),
        Option(
            "config",
            "read options from this TOML file, by their names (idle-seconds = '2m'); the command line goes first",
            "FILE",
        ),
        Option("check", "say what would be wrong with a start, or each option's value and where it is from, and exit"),
        Option("self-test", "attack a clone of this on a loopback port, and say which limit answered each attack"),
        Option("version", "Display the versions of hardhttp and Twisted and exit."),
        Option("help", "Display this help and exit."),
    ),
    "Files:": (
        Option("listing", "show what is in a directory of the webroot that has no index.html"),
        Option("follow-symlinks", "follow links that lead out of the webroot"),
        Option(
            "fallback",
            "a page of the webroot for every path that is none of its files: for applications of a single page",
            "FILE",
        ),
        Option(
            "cache-control",
            "Cache-Control for files whose path in the webroot matches, such as 'img/*=max-age=3600'; may be repeated",
            "PATTERN=VALUE",
            several=True,
        ),
    ),
    "Sessions:": (
        Option(
            "session-store",
            (
                "where cookie sessions are kept: memory:, sqlite:PATH, or redis://[:PASSWORD@]HOST[:PORT][/DB]; "
                "env:NAME and file:PATH stand for what is there"
            ),
            "memory:",
            "memory:",
        ),
    ),
    "Events, by the Mercure protocol at /.well-known/mercure (when a key is given):": (
        Option(
            "mercure-publisher-key",
            (
                "whose tokens may publish: a secret, a public key or certificate, a JWKS or the https URL of one, "
                "which is fetched again as its keys rotate; or env:NAME or file:PATH of any of these"
            ),
            "KEY",
        ),
        Option("mercure-publisher-algorithm", "of that key: HS256, RS256, ES256, EdDSA...", "HS256", "HS256"),
        Option("mercure-subscriber-key", "whose tokens may subscribe to private events; the same forms", "KEY"),
        Option("mercure-subscriber-algorithm", "of that key", "HS256", "HS256"),
        Option(
            "mercure-audience",
            "this hub's name: tokens without it in their aud are refused, so that one signed for another hub is no use",
            "NAME",
        ),
        Option(
            "mercure-cookie",
            "the cookie a browser's token comes in, where several hubs share a domain",
            "mercureAuthorization",
            "mercureAuthorization",
        ),
        Option("anonymous", "one may subscribe to public events without a token"),
        Option("publish-origins", "pages that may publish with a cookie, with commas between", "ORIGIN,..."),
        Option(
            "subscriptions", "tell of each subscription's begin and end, and who is there, to those allowed to know"
        ),
        Option(
            "mercure-ui",
            (
                "a page at /.well-known/mercure/ui/ to subscribe and publish by hand; it holds no key: "
                "whoever opens it may do what the token he enters allows"
            ),
        ),
        Option(
            "mercure-websocket",
            (
                "let clients subscribe over WebSocket too, at the same address: each event is a text message in JSON; "
                "pages of other origins are let in as by CORS"
            ),
        ),
        Option("max-topics", "topics in one request", "100", "100"),
        Option("max-event-bytes", "one event; more is answered 413", "1MiB", "1MiB"),
        Option(
            "history", "where events are kept for those who come back: memory:, or sqlite:PATH", "memory:", "memory:"
        ),
        Option(
            "broker",
            (
                "be one hub with other processes and machines: redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://..., "
                "unix:PATH, or redis+sentinel://HOST:PORT,HOST:PORT/MASTER; it keeps the history too (memory: is this "
                "process alone). env:NAME and file:PATH stand for what is there"
            ),
            "URL",
        ),
        Option(
            "broker-away",
            (
                "what becomes of an event while the broker is away: refuse (503), queue (202; it waits here, 4000 "
                "events and 16 MiB at most, and is lost if this process ends), or local (as queue, and whoever is "
                "subscribed here has it at once)"
            ),
            "refuse|queue|local",
            "refuse",
        ),
        Option(
            "slow-subscribers",
            (
                "at 1000 events or 1 MiB waiting: close, drop-oldest, latest or pause (see the guide to events); "
                "for some topics another, with blanks between: close /prices/{id}=latest"
            ),
            "close",
            "close",
        ),
        Option("heartbeat-seconds", "a comment goes to whoever was sent nothing for so long; none: never", "15", "15"),
        Option("subscription-seconds", "how long a subscription may last before it is to come back", "none", "none"),
        Option("uncompressed-events", "do not compress streams for clients that accept gzip"),
    ),
    "Around what is served:": (
        Option("compress", "compress text, by gzip and what else is installed, where no secret can leak by it"),
        Option("security-headers", "tell browsers to do less: no sniffing, no framing, no plug-ins, no referrers"),
        Option(
            "cors-origins",
            (
                "origins whose scripts may read what is served, with commas between: "
                "https://app.example, https://*.example.org, or *"
            ),
            "ORIGIN,...",
        ),
        Option("cors-credentials", "those scripts may read it with the user's cookies; not with *"),
        Option(
            "early-hints",
            "a TOML file: what pages will need, by path, said to browsers (103, Link) before a page is made",
            "FILE",
        ),
        Option(
            "early-hints-to",
            "who gets 103: auto (browsers that open a page, with no proxy between), always, or never",
            "auto|always|never",
            "auto",
        ),
        Option(
            "push-preloads",
            "push over HTTP/2 what Link fields of answers say to preload, to clients that take it (browsers do not)",
        ),
        Option("rate-limit", "requests an address may make: 100/m, 5/s, 1000/h; more are answered 429", "COUNT/TIME"),
    ),
    "TLS, with --listen tls:443:PATH (a PEM file, or a directory of certificates):": (
        Option("tls-minimum", "the oldest version that is spoken: 1.2 or 1.3", "1.2"),
        Option(
            "tls-ciphers",
            "OpenSSL's names, best first, with colons between (TLS_...: of 1.3); default: ECDHE with AEAD alone",
            "NAMES",
        ),
        Option("tls-client-ca", "clients need a certificate that one of this file's has signed", "FILE"),
        Option("tls-client-certificate", "whether they must have one: required, or optional", "required"),
        Option(
            "hsts",
            (
                "browsers come back by TLS alone for so long (Strict-Transport-Security): 5m to begin with, then "
                "365d; for all hosts below too: 365d,includeSubDomains; for their own lists: ...,preload"
            ),
            "TIME[,WORD,...]",
        ),
        Option("redirect-to-https", "who comes by plain HTTP is sent to the TLS port; needs no rule anywhere else"),
        Option(
            "acme-challenge",
            "serve /.well-known/acme-challenge/ from here, by plain HTTP too: what certbot's --webroot-path names",
            "DIRECTORY",
        ),
        Option(
            "tls-development",
            "make a certificate for this machine, once, and serve it where tls: names none (else on 127.0.0.1:8443)",
        ),
        Option("tls-development-public", "let other machines reach that port too"),
    ),
    "Proxies in front:": (
        Option(
            "trusted-proxies",
            (
                "addresses or networks, separated by commas, that stand for many clients (unix: all who come by a "
                "socket): --max-connections-per-address is not for them (nor for loopback), and what they say of a "
                "client in Forwarded or X-Forwarded-For, -Proto, -Host is believed; nobody else is"
            ),
            "ADDRESS[/PREFIX],...",
        ),
        Option("proxy-protocol", "connections from trusted proxies begin with a PROXY header (versions 1 and 2)"),
    ),
    "The admin side:": (
        Option(
            "admin",
            (
                "an endpoint for a dashboard (open it in a browser), /metrics, /readyz, /connections and more; "
                "default: tcp:8081:interface=127.0.0.1, left out when that port is taken"
            ),
            "ENDPOINT|none",
            "tcp:8081:interface=127.0.0.1",
        ),
        Option(
            "admin-token",
            "who asks it must send: Authorization: Bearer TOKEN; or env:NAME or file:PATH that holds one",
            "TOKEN",
        ),
    ),
    "Worker processes:": (
        Option(
            "workers",
            (
                "serve by so many processes, which a parent begins and replaces: a number, or auto (one for each "
                "processor this may use). --max-connections and --max-buffered-bytes are for all together; sessions "
                "and events need a store and a broker that all of them reach"
            ),
            "N|auto",
        ),
        Option(
            "worker-max-rss",
            "replace a worker that has more than this in memory, once its successor is ready; none: never",
            "none",
            "none",
        ),
        Option(
            "worker-stuck-seconds",
            "kill and replace a worker whose reactor answers nothing for so long; none: never",
            "30",
            "30",
        ),
    ),
    "The server's own log:": (
        Option("log-format", "text, or json: an object a line; where twistd's --logfile says", "text|json", "text"),
        Option("log-level", "the least that is written: debug, info, warn, error or critical", "info", "info"),
    ),
    "The access log:": (
        Option(
            "access-log",
            "a line for each request goes to this file, or to - (standard output); default: none",
            "FILE|-|none",
            "none",
        ),
        Option("access-log-format", "combined (as Apache and nginx write it), or json", "combined", "combined"),
        Option("access-log-rotate", "begin a new file when this one is so large; none: never", "none", "none"),
        Option("access-log-keep", "how many such files are kept", "7", "7"),
    ),
}
OPTIONS = {option.name: option for options in GROUPS.values() for option in options}
