"""What whoever looks after a running server needs: its configuration, its figures, its admin side.

Nothing here is on the way of a request: figures are collected when they are asked for, from counts that the
server keeps anyway.
"""
