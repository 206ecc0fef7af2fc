"""Does the shop give everything back? `pytest test_shop.py`; `--hardhttp-soak-seconds=60` looks longer, at night say.

hardhttp brings the marker and the fixture; there is nothing to configure. Each test starts the shop anew on a port of
its own, and ends it. `found.report` is a page with pictures, in pytest's directory of temporary files.
"""

import sys
from pathlib import Path

import pytest

SHOP = f"{sys.executable} {Path(__file__).with_name('shop.py')} {{port}}"
PATHS = {"session": "/basket/tea", "look": "/basket", "upload": "/pictures"}


@pytest.mark.hardhttp_soak("lookers", "session-makers")
def test_baskets_do_not_pile_up(soak):
    found = soak(command=SHOP, paths=PATHS)
    assert found.passed, found


@pytest.mark.hardhttp_soak("broken-*", "vanish-in-body")
def test_pictures_that_never_end_leave_nothing(soak):
    found = soak(command=SHOP, paths=PATHS)
    assert found.passed, found
