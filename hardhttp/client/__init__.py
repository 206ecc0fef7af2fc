"""The HTTP client: an ``IAgent`` that no response, proxy or silence can leak."""
