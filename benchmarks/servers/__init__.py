"""One small program for each peer; each takes its port as its first argument.

All answer ``/a/b`` with thirteen bytes of text, ``POST /post`` with the number of bytes in the
body, and ``/big`` with four MiB. They are written as that peer's documentation would have it, at
its fastest usual setting, with access logs off.
"""
