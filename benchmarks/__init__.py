"""What hardhttp costs, beside its peers, on the machine at hand: ``python -m benchmarks``.

Machines differ from minute to minute, so no figure here stands alone: programs run in turn,
A B C A B C, each server on one core and the load on another, and what counts is the ratio inside
each round. ``README.md`` says what to install and how to read the result.
"""
