"""Connections: who is connected, what each holds, how long it may."""
