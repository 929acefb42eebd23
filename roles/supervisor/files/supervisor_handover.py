"""An extension of supervisord: give a running program another name, so that a new process can take its place.

supervisord runs one process of a program and starts the next when it has ended. With a name of its own, the old one
can go on while the new one starts, and be stopped when that one is ready. Loaded by supervisord.conf, by supervisord's
own way for extensions:

    [rpcinterface:handover]
    supervisor.rpcinterface_factory=supervisor_handover:make_interface

What was renamed and has stopped is forgotten within five seconds.
"""

from __future__ import annotations

import copy
from typing import Any

from supervisor import events
from supervisor.rpcinterface import Faults, RPCError
from supervisor.states import ProcessStates


class Handover:
    """What XML-RPC calls as ``handover.…``.

    Args:
        supervisord: the running one.
    """

    def __init__(self, supervisord: Any) -> None:
        self.supervisord = supervisord
        self._renamed: set[str] = set()
        events.subscribe(events.Tick5Event, self._forget_stopped)

    def rename(self, name: str, new: str) -> bool:
        """Rename a program that runs.

        Args:
            name: what it is called.
            new: what it will be called.

        Raises:
            RPCError: BAD_NAME: there is no such program, or it has more than one process; NOT_RUNNING; ALREADY_ADDED:
                the new name is taken.
        """
        groups = self.supervisord.process_groups
        if name not in groups or set(groups[name].processes) != {name}:
            raise RPCError(Faults.BAD_NAME, name)
        if new in groups:
            raise RPCError(Faults.ALREADY_ADDED, new)
        group, process = groups[name], groups[name].processes[name]
        if process.get_state() != ProcessStates.RUNNING:
            raise RPCError(Faults.NOT_RUNNING, name)
        # Copies, for supervisord may hold these as what its files say.
        group.config, process.config = copy.copy(group.config), copy.copy(process.config)
        group.config.name = process.config.name = new
        group.processes = {new: process}
        groups[new] = groups.pop(name)
        self._renamed = self._renamed - {name} | {new}
        return True

    def _forget_stopped(self, event: Any) -> None:
        configured = {config.name for config in self.supervisord.options.process_group_configs}
        self._renamed &= self.supervisord.process_groups.keys() - configured
        for name in self._renamed:
            self.supervisord.remove_process_group(name)  # refuses one that runs


def make_interface(supervisord: Any) -> Handover:
    """What supervisord.conf names."""
    return Handover(supervisord)
