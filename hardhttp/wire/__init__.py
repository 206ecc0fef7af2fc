"""Bytes to meaning and back. No Twisted, no clock, no I/O."""
