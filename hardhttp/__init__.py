"""A Twisted HTTP and Server-Sent-Events server that can be left running for months."""

__version__ = "0.1.0"
