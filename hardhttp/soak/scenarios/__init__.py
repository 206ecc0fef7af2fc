"""Scenarios, a module for each kind of misbehaviour. ``hardhttp.soak.catalogue`` lists them all."""
