"""One small application, written for each server that takes part in a comparison.

Each answers the same paths (``hardhttp.soak.peers.PATHS_SERVED``) by the simplest code its own manual would
show, with the server's limits as they come: what is compared is what a user gets who changes nothing.
"""
