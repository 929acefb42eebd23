"""A start, and a short command's end, without Python's garbage collector.

What a start makes, modules above all, stays. To search all of it for garbage again and again, as there gets more, took
a sixth of a start, and to search it once more at the end a third of a command that does nothing long.
"""

from __future__ import annotations

import atexit
import gc

_usual = gc.get_threshold()
_is_put_off = False


def put_off() -> None:
    """Search for garbage only after a million new objects, more than a start makes, and not when the process ends."""
    global _is_put_off
    _is_put_off = True
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)


def search_again() -> None:
    """Go on as usual, but for what there is by now: not looked at, it stays shared with the pool's processes too.

    Only in a process that put_off() was called in, so a worker of its own: a worker in a thread of a test or of a web
    process would keep for ever what the others before it have left, their sockets too.
    """
    if not _is_put_off:
        return
    gc.freeze()
    gc.set_threshold(*_usual)
    atexit.unregister(gc.freeze)
