"""A start without Python's garbage collector.

What a start makes, modules above all, stays. To search all of it for garbage again and again, as there gets more, took
a sixth of a start.
"""

from __future__ import annotations

import gc

_usual = gc.get_threshold()


def put_off() -> None:
    """Search for garbage only after a million new objects, more than a start makes."""
    gc.set_threshold(1_000_000)


def search_again() -> None:
    """Go on as usual, but for what there is by now: not looked at, it stays shared with the pool's processes too."""
    gc.freeze()
    gc.set_threshold(*_usual)
