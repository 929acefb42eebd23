"""A run as the page shows it: its tasks with their states, how they hang together, and what is stored of them where."""

import hashlib
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import states
from django.db.models import Prefetch
from django.utils import timezone
from django.utils.text import Truncator

from . import service, stored
from .models import Event, Run, Submission

WAITING = "WAITING"  # of a task that is not sent yet, but will follow one that is
STATES = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "retry": states.RETRY,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "revoked": states.REVOKED,
}
MAX_NODES = 60  # that are drawn
MAX_EVENTS = 300  # that are shown, the newest
STEP = timedelta(seconds=5)  # by which the lanes of what has not ended grow: a page that is as it was is not sent
SETTLE = timedelta(seconds=3)  # after all have ended, for what another process sends or writes
FRESH = (  # while it is that new, the page asks again after so many seconds
    (timedelta(seconds=20), 1),
    (timedelta(minutes=2), 2),
    (timedelta(minutes=10), 5),
    (timedelta(hours=1), 15),
)


@dataclass
class Span:
    """What a task did from one time to another: `queued`, `held` by a worker, or `running`."""

    kind: str
    start: datetime
    end: datetime | None = None


@dataclass
class Node:
    """A task of a run."""

    id: str
    task: str = ""
    state: str = WAITING
    call: str = ""
    worker: str = ""
    queue: str = ""
    group: str = ""
    retries: int = 0
    over: bool = False  # it has ended without a result, and left its state as it was
    progress: dict[str, Any] | None = None
    result: str = ""
    error: str = ""
    traceback: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    x: int = 0
    y: int = 0

    @property
    def name(self) -> str:
        """The short name, such as `add`."""
        return self.task.rpartition(".")[2]

    @property
    def label(self) -> str:
        """The call, not too long."""
        return Truncator(self.call or self.name).chars(64)

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.over or self.state in states.READY_STATES

    @property
    def seconds(self) -> float | None:
        """How long it ran, all attempts together."""
        ran = [span for span in self.spans if span.kind == "running"]
        if not ran or not self.ready:
            return None
        return sum(((span.end or span.start) - span.start).total_seconds() for span in ran)

    def take(self, event: Event) -> None:
        """Know what an event tells."""
        self.task, self.queue = event.task or self.task, event.queue or self.queue
        self.worker = event.worker or self.worker
        detail, kind = event.detail, event.kind
        if kind == "progress":
            meta = detail["meta"] if isinstance(detail.get("meta"), dict) else {}
            self.state, self.progress = detail["state"] or self.state, meta
            return
        if kind == "log":
            return
        self.over = kind == "ended"
        if self.over:
            self.state = detail["state"] if self.state == states.STARTED else self.state
            self._span(kind, event.time)
            return
        if kind == "retry" and detail["retries"] < self.retries:
            return  # it was sent again before Celery says so, and may even run
        if not (self.state == states.RETRY and kind == "received"):
            self.state = STATES[kind]
        if kind == "sent":
            self._sent(event)
        elif kind == "failed":
            self.error, self.traceback = detail["error"], detail["traceback"]
        elif kind == "succeeded":
            self.result, self.error, self.traceback = detail["result"], "", ""
        elif kind == "retry":
            self.error = detail["reason"]
        self._span(kind, event.time)

    def _sent(self, event: Event) -> None:
        self.message = event.detail["message"]
        headers = self.message["headers"]
        arguments = [str(headers.get("argsrepr") or "").removeprefix("(").removesuffix(")").removesuffix(",")]
        arguments.append(str(headers.get("kwargsrepr") or "").removeprefix("{").removesuffix("}"))
        self.call = f"{self.name}({', '.join(filter(None, arguments))})"
        self.group = str(headers.get("group") or "")
        self.retries = headers.get("retries") or 0
        if self.retries:
            self.state = states.RETRY

    def _span(self, kind: str, at: datetime) -> None:
        if self.spans and self.spans[-1].end is None:
            self.spans[-1].end = at
        if (doing := {"sent": "queued", "received": "held", "started": "running"}.get(kind)) is not None:
            self.spans.append(Span(doing, at))


@dataclass(frozen=True)
class Bar:
    """A part of a lane, in thousandths of the time that the run took."""

    kind: str
    x: int
    width: int


@dataclass(frozen=True)
class Row:
    """A line of the timeline."""

    after: str
    kind: str
    state: str
    task: str
    where: str
    text: str


@dataclass
class View:
    """All that the page shows of a run, at one moment."""

    run: Run
    nodes: list[Node]
    edges: list[tuple[Node, Node, str]]
    rows: list[Row]
    lines: list[tuple[str, str, Event]]
    broker: tuple[str, list[stored.Line]]
    results: tuple[str, list[stored.Line]]
    counts: dict[str, int]
    every: int | None
    start: datetime
    end: datetime
    hidden: int = 0

    @property
    def state(self) -> str:
        """The state of the whole: what its tasks are at, or how it ended."""
        return summary(self.run, self.nodes)

    @property
    def open(self) -> list[Node]:
        """The tasks that were sent and have not ended."""
        return [node for node in self.nodes if node.state != WAITING and not node.ready]

    @property
    def final(self) -> list[Node]:
        """The tasks whose results the call gave to its caller: one, or a group's."""
        if not self.run.results:
            return []
        by_id = {node.id: node for node in self.nodes}
        return [by_id[task_id] for task_id in service.last_ids(self.run.results) if task_id in by_id]

    @property
    def failed(self) -> list[Node]:
        """The tasks that failed, or are to be tried again, other than those."""
        return [node for node in self.nodes if node.error and node.state != states.SUCCESS and node not in self.final]

    @property
    def pictures(self) -> list[str]:
        """The addresses of the pictures that a task has made."""
        return [path for node in self.final for path in re.findall(r"/thumbnails/[\w-]+/\d+", node.result)]

    @property
    def moving(self) -> list[Node]:
        """The tasks that tell how far they are."""
        return [node for node in self.nodes if node.progress and node.progress.get("total")]

    def bars(self, node: Node) -> list[Bar]:
        """Return the lane of a task."""
        whole = max((self.end - self.start).total_seconds(), 0.001)

        def place(at: datetime) -> int:
            return max(0, min(1000, round(1000 * (at - self.start).total_seconds() / whole)))

        spans = [(span.kind, place(span.start), place(span.end or self.end)) for span in node.spans]
        return [Bar(kind, start, max(end - start, 3)) for kind, start, end in spans]

    @property
    def lanes(self) -> list[tuple[Node, list[Bar]]]:
        """When each task was sent, received and run."""
        return [(node, self.bars(node)) for node in self.nodes if node.spans]

    @property
    def drawing(self) -> "Drawing":
        """The graph."""
        return Drawing(self.nodes, self.edges)

    @property
    def digest(self) -> str:
        """A word that changes when anything does."""
        nodes = [(node.id, node.state, node.progress, node.result) for node in self.nodes]
        rest = (self.broker, self.results, self.counts, self.every, self.state, self.end, len(self.lines))
        seen = (self.rows, nodes, rest)
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


class Drawing:
    """A graph from left to right: what follows stands further to the right.

    Args:
        nodes: their places are set.
        edges: from, to and what for.
    """

    WIDTH, HEIGHT, GAP_X, GAP_Y, EDGE = 160, 52, 44, 14, 6

    def __init__(self, nodes: list[Node], edges: list[tuple[Node, Node, str]]) -> None:
        depth = {node.id: 0 for node in nodes}
        for _ in range(len(nodes)):
            moved = False
            for before, after, _kind in edges:
                if depth[after.id] <= depth[before.id] < len(nodes):
                    depth[after.id], moved = depth[before.id] + 1, True
            if not moved:
                break
        columns: dict[int, list[Node]] = defaultdict(list)
        for node in nodes:
            columns[depth[node.id]].append(node)
        rows = max((len(column) for column in columns.values()), default=0)
        self.columns = len(columns)
        self.width = len(columns) * (self.WIDTH + self.GAP_X) - self.GAP_X + 2 * self.EDGE
        self.height = rows * (self.HEIGHT + self.GAP_Y) - self.GAP_Y + 2 * self.EDGE
        for place, column in enumerate(columns[key] for key in sorted(columns)):
            above = (rows - len(column)) * (self.HEIGHT + self.GAP_Y) // 2
            for index, node in enumerate(column):
                node.x = self.EDGE + place * (self.WIDTH + self.GAP_X)
                node.y = self.EDGE + above + index * (self.HEIGHT + self.GAP_Y)
        self.nodes = nodes
        self.paths = [(self._path(before, after), kind, after.state) for before, after, kind in edges]

    def _path(self, before: Node, after: Node) -> str:
        x1, y1 = before.x + self.WIDTH, before.y + self.HEIGHT // 2
        x2, y2 = after.x - 4, after.y + self.HEIGHT // 2
        bend = after.x - self.GAP_X  # straight, between what stands in the columns that it passes
        middle = (bend + x2) // 2
        return f"M{x1} {y1}H{bend}C{middle} {y1} {middle} {y2} {x2} {y2}"


def view(run: Run) -> View:
    """Put together what is known of a run.

    Raises:
        Unavailable: the database does not answer.
    """
    with service.needs_database():
        events = list(Event.objects.filter(run=run).order_by("time", "id"))
    nodes: dict[str, Node] = {}
    planned: dict[tuple[str, str], str] = {}
    parents: dict[str, str] = {}
    for event in events:
        node = nodes.setdefault(event.task_id, Node(event.task_id))
        node.take(event)
        if event.parent_id and event.parent_id != event.task_id:
            parents.setdefault(event.task_id, event.parent_id)
        for before, after, task, kind in event.detail.get("edges", ()):
            planned[before, after] = kind
            nodes.setdefault(after, Node(after, task))
    found = stored.results(
        [node.id for node in nodes.values() if node.state != WAITING], {node.group for node in nodes.values()} - {""}
    )
    for task_id, state in found[2].items():
        if state in states.READY_STATES and not nodes[task_id].ready:
            nodes[task_id].state = state  # the event is lost, the result is not
    led_to = {after for _, after in planned}
    planned |= {
        (parent, task_id): "sent"
        for task_id, parent in parents.items()
        if task_id not in led_to and (task_id, parent) not in planned  # it has sent what takes its own place
    }
    never = datetime.max.replace(tzinfo=UTC)
    shown = sorted(nodes.values(), key=lambda node: node.spans[0].start if node.spans else never)[:MAX_NODES]
    visible = {node.id for node in shown}
    edges = [
        (nodes[before], nodes[after], kind)
        for (before, after), kind in planned.items()
        if before in visible and after in visible
    ]
    start = min([run.created, *(event.time for event in events)])
    every = _every(run, events, nodes.values())
    last = events[-1].time if events else run.created
    logged = [event for event in events if event.kind == "log"]
    return View(
        run=run,
        nodes=shown,
        edges=edges,
        rows=[_row(event, start, nodes) for event in events if event.kind != "log"][-MAX_EVENTS:],
        lines=[(_after(event.time - start), nodes[event.task_id].name, event) for event in logged],
        broker=stored.broker(node.queue for node in nodes.values()),
        results=found[:2],
        counts={"tasks_run": 1, "tasks_event": len(events)},
        every=every,
        start=start,
        end=max(last, start + (timezone.now() - start) // STEP * STEP) if _open(nodes.values()) else last,
        hidden=len(nodes) - len(shown),
    )


def _open(nodes: Iterable[Node]) -> bool:
    return any(not node.ready for node in nodes if node.state != WAITING)


def _every(run: Run, events: list[Event], nodes: Iterable[Node]) -> int | None:
    """Return after how many seconds the page is to ask again; None, if nothing more is to come."""
    nodes = list(nodes)
    if not nodes and not run.results:
        return None  # nothing was sent
    age = timezone.now() - (events[-1].time if events else run.created)
    stuck = any(node.state in states.PROPAGATE_STATES for node in nodes)  # what would follow a failure never does
    done = nodes and all(node.ready or (stuck and node.state == WAITING) for node in nodes)
    if done and age > SETTLE:
        return None
    return next((seconds for limit, seconds in FRESH if age < limit), None)


def _after(passed: timedelta) -> str:
    return f"{passed.total_seconds():.3f}"


def _row(event: Event, start: datetime, nodes: dict[str, Node]) -> Row:
    state = event.detail.get("state") or STATES.get(event.kind, "")
    where = event.worker if event.kind not in ("sent",) else f"→ {event.queue}" if event.queue else ""
    node = nodes[event.task_id]
    return Row(_after(event.time - start), event.kind, state, node.label, where, _sentence(event))


def _sentence(event: Event) -> str:
    detail = event.detail
    match event.kind:
        case "sent":
            headers = detail["message"]["headers"]
            said = [f"attempt {headers['retries'] + 1}"] if headers.get("retries") else []
            said += [f"not before {_clock(headers['eta'])}"] if headers.get("eta") else []
            said += [f"expires {_clock(headers['expires'])}"] if headers.get("expires") else []
            return ", ".join(said)
        case "received":
            said = ["delivered again"] if detail.get("redelivered") else []
            said += [f"priority {detail['priority']}"] if detail.get("priority") else []
            return ", ".join(said)
        case "started":
            return f"attempt {detail['retries'] + 1}" if detail.get("retries") else ""
        case "progress":
            meta = detail.get("meta")
            if isinstance(meta, dict) and meta.get("total"):
                return f"{meta.get('current', 0)} of {meta['total']}"
            return "" if meta is None else str(meta)
        case "ended":
            return str(detail["state"]).lower()
        case "retry":
            return str(detail["reason"])
        case "succeeded":
            return f"→ {detail['result']}"
        case "failed":
            return str(detail["error"])
        case "revoked" if detail.get("expired"):
            return "it had expired"
        case "revoked":
            return "terminated while it ran" if detail.get("terminated") else "before it ran"
    return ""


def _clock(moment: Any) -> str:
    """Return the time of a day of an ISO date."""
    return str(moment).partition("T")[2][:8] or str(moment)


def _nodes(events: Iterable[Event]) -> dict[str, Node]:
    """Return the tasks of which these events tell, by id."""
    nodes: dict[str, Node] = {}
    for event in events:
        nodes.setdefault(event.task_id, Node(event.task_id)).take(event)
    return nodes


def revoke(run: Run, terminate: bool) -> None:
    """Revoke the tasks of a run that have not ended.

    Args:
        run: what they are part of.
        terminate: also those that run.

    Raises:
        Unavailable: the database or the broker does not answer.
    """
    with service.needs_database():
        nodes = _nodes(run.events.all())
    if waiting := [node.id for node in nodes.values() if not node.ready]:
        service.revoke(waiting, terminate)


@dataclass(frozen=True)
class Brief:
    """A run, as a list of them shows it."""

    pk: uuid.UUID
    example: str
    created: datetime
    state: str
    count: int  # of its tasks


@dataclass(frozen=True)
class Recent:
    """What was run lately: examples, and tasks that the API was given."""

    runs: list[Brief]
    tasks: list[Submission]

    @property
    def digest(self) -> str:
        """A word that changes when anything does."""
        seen = self.runs, [task.pk for task in self.tasks]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def recent(limit: int = 12) -> Recent:
    """Return the newest runs, each with its state and how many tasks it has, and the newest tasks of the API.

    Raises:
        DatabaseError: the database does not answer.
    """
    found = Run.objects.prefetch_related(Prefetch("events", Event.objects.exclude(kind="log")))[:limit]
    return Recent([_brief(run) for run in found], list(Submission.objects.only("task", "created")[:limit]))


def _brief(run: Run) -> Brief:
    nodes = _nodes(run.events.all())
    return Brief(run.pk, run.example, run.created, summary(run, nodes.values()), len(nodes))


def summary(run: Run, nodes: Iterable[Node]) -> str:
    """Return the state of a run as a whole: what its tasks are at, or how it ended."""
    found = {node.state for node in nodes} - {WAITING}
    if not found:
        return "REFUSED" if run.error else states.PENDING if run.results else "RETURNED"
    if run.error:
        return states.FAILURE
    own = sorted(found - set(STATES.values()))
    for state in (states.RETRY, *own, states.STARTED, states.RECEIVED, states.PENDING, states.FAILURE, states.REVOKED):
        if state in found:
            return state
    return states.SUCCESS
