"""Producers that go on whatever happens, and what was accepted of theirs."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.faults.host import Host

PRODUCER = Path(__file__).with_name("producer.py").read_text(encoding="utf-8")
MIX = {"short": 20, "long": 2, "eta": 2, "retries": 2, "chain": 2, "chord": 1}


class Producer:
    """A program on the host that is started again when it ends, as it does with its host.

    Args:
        host: where.
        options: see producer.py.
        note: called with the kind, the ids, the error (None when accepted) of each call, and whether it was sent again.
    """

    def __init__(
        self, host: Host, options: dict[str, Any], note: Callable[[str, list[str], str | None, bool], None]
    ) -> None:
        self.host = host
        self.options = options
        self.note = note
        self._end = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep_producing, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more; ``join`` waits for the last answers."""
        self._end.set()
        if self._process and self._process.stdin:
            self._process.stdin.close()

    def join(self) -> None:
        """Wait until it has ended, which it does when what it sends last is accepted or refused."""
        self._thread.join(60)

    def _keep_producing(self) -> None:
        while not self._end.is_set():
            self.options["seed"] += 1000
            self._process = self.host.popen("celery-python", "-c", PRODUCER, json.dumps(self.options))
            for line in self._process.stdout or ():
                try:
                    said = json.loads(line)
                except ValueError:  # cut off with its host
                    continue
                self.note(said["kind"], said["ids"], said.get("refused"), said["again"])
            self._process.wait()
            self._end.wait(0.5)


class Load:
    """Tasks through real clients: programs on the host that use Celery, and the web API from here.

    Args:
        host: where to.
        seed: what the producers choose by.
        rate: calls a second of each of the producers on the host; the web API gets two a second, and an order a second.
        producers: how many there are on the host.
        mix: kinds of task and their weights; see producer.py.
        eta: seconds ahead, from and to.
    """

    def __init__(
        self,
        host: Host,
        seed: int = 0,
        rate: float = 5.0,
        producers: int = 2,
        mix: dict[str, int] | None = None,
        eta: tuple[float, float] = (4.0, 12.0),
    ) -> None:
        self.host = host
        self.begun = time.time()
        self.accepted: dict[str, str] = {}  # kind by id
        self.when: dict[str, float] = {}  # seconds from the beginning until a call was accepted, by id
        self.refused: Counter[str] = Counter()  # by error
        self.again = 0  # accepted calls that Celery sent again, not knowing whether the broker has the first
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._how: dict[str, Any] = {"rate": rate, "mix": mix or MIX, "eta": eta, "seed": seed, "port": None}
        self._number = producers
        self._producers: list[Producer] = []
        self.product = f"sold since {self.begun:.3f}"
        self._web = [threading.Thread(target=task, daemon=True) for task in self._posting()]

    def start(self) -> Load:
        """Begin to send."""
        for number in range(self._number):
            self._producers.append(self._producer(seed=self._how["seed"] + number))
        for thread in self._web:
            thread.start()
        return self

    def stop(self) -> None:
        """Send no more; return when the last answers are in."""
        self._end.set()
        for producer in self._producers:
            producer.stop()
        for producer in self._producers:
            producer.join()
        for thread in self._web:
            thread.join()

    @contextmanager
    def through(self, port: int) -> Iterator[None]:
        """One more producer for a while, which finds the broker at another port of the host.

        Args:
            port: which.
        """
        producer = self._producer(port=port)
        yield
        producer.stop()
        producer.join()

    def _producer(self, **options: Any) -> Producer:
        return Producer(self.host, {**self._how, **options}, self._note)

    @property
    def orders(self) -> set[str]:
        """The orders among them. Their tasks have the same ids, and may run twice: they have their effect once."""
        with self._lock:
            return {id for id, kind in self.accepted.items() if kind == "order"}

    @property
    def ids(self) -> set[str]:
        """The tasks that were accepted so far."""
        with self._lock:
            return set(self.accepted)

    def _note(self, kind: str, ids: list[str], refused: str | None, again: bool = False) -> None:
        with self._lock:
            self.again += again and refused is None
            if refused is None:
                self.accepted |= dict.fromkeys(ids, kind)
                self.when |= dict.fromkeys(ids, round(time.time() - self.begun, 1))
            else:
                self.refused[refused] += 1

    def _posting(self) -> Iterator[Callable[[], None]]:
        if "web" in self.host.platform.features:
            yield self._keep_posting
            if self.host.platform.features >= {"example", "beat", "database"}:
                yield self._keep_ordering

    def _keep_posting(self) -> None:
        """Send by the application's web API."""
        while not self._end.wait(0.5):
            self._post("web", "/api/tasks", {"task": "add", "args": [1, 2]})

    def _keep_ordering(self) -> None:
        """Place orders by the web API. Who got no answer places the order again under its id."""
        id = str(uuid4())
        while not self._end.wait(1.0):
            if self._post("order", "/api/orders", {"product": self.product, "quantity": 1, "id": id}):
                id = str(uuid4())

    def _post(self, kind: str, path: str, body: dict[str, Any]) -> bool:
        """Whether it was accepted."""
        try:
            answer = self.host.http(path, body=body)
            refused = None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
            self._note(kind, [answer.json()["id"]] if refused is None else [], refused)
        except (OSError, HTTPException, ValueError, KeyError) as error:
            refused = f"HTTP: {type(error).__name__}"
            self._note(kind, [], refused)
        return refused is None
