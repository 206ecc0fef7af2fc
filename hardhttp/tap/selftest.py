"""``--self-test``: this process becomes the one that attacks a clone of what the options describe.

The attack is ``hardhttp.soak.selftest``, which knows of options; options know nothing of it but its
name, because the server does not depend on its proof.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["FLAG", "become_the_attack"]

FLAG = "--self-test"
MODULE = "hardhttp.soak.selftest"


def become_the_attack(words: Sequence[str]) -> None:
    """Run the self-test with the same command line, in place of this process. Does not return."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", MODULE, *(word for word in words if word != FLAG)])
