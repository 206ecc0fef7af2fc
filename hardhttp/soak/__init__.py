"""Proof: whether what a server takes is given back, shown from outside, for this server and for any other."""
