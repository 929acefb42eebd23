"""A start, and a short command's end, without Python's garbage collector.

What a start makes, modules above all, stays. To search all of it for garbage again and again, as it grows, took a sixth
of a start; to search it once more at the end took a third of a short command.
"""

from __future__ import annotations

import atexit
import gc

NEVER_IN_A_START = 1_000_000  # new objects, more than a start makes

_usual = gc.get_threshold()
_is_put_off = False


def put_off() -> None:
    """Search for garbage only after a million new objects, and not when the process ends."""
    global _is_put_off
    _is_put_off = True
    gc.set_threshold(NEVER_IN_A_START)
    atexit.register(gc.freeze)


def search_again() -> None:
    """Search as usual, but for the objects that exist by now: untouched, they stay shared with the pool's processes.

    Does something only in a process that put_off() was called in, so a worker of its own. In a test or a web process, a
    worker in a thread would keep for ever what the workers before it left, their sockets too.
    """
    if not _is_put_off:
        return
    gc.freeze()
    gc.set_threshold(*_usual)
    atexit.unregister(gc.freeze)
