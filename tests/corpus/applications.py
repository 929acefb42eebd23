"""The applications of tests/apps, and what each of them does when it works.

Each folder of tests/apps has an application, as its authors would have written it, and an inventory, as a user of the
platform would write it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.corpus.websocket import converse
from tests.hosts.support import ROOT, Answer, Site, eventually

APPS = ROOT / "tests" / "apps"
PATIENCE_S = 60.0  # that a task may take which somebody else sent, such as beat

Look = Callable[[Site], None]


@dataclass(frozen=True)
class Application:
    """An application of the corpus.

    Each step raises AssertionError where the application does not do what it should. A step is None where the
    application has nothing of the kind.

    Args:
        name: its folder below tests/apps.
        tasks: sends tasks from the application's shell.
        beat: the name of a task that beat sends every ten seconds.
        web: uses the web side, through the front door.
        static: reads what nginx or the web side serves from files.
        lacks: what the platform lacks for it, while it does not deploy; empty where it has to work.
    """

    name: str
    tasks: Look
    beat: str = ""
    web: Look | None = None
    static: Look | None = None
    lacks: str = ""

    @property
    def inventory(self) -> Path:
        """The inventory's folder."""
        return APPS / self.name / "inventory"

    def steps(self) -> dict[str, Look | None]:
        """Return the steps by the column of the table that shows them."""
        beat = (lambda site: ran(site, self.beat)) if self.beat else None
        return {"tasks": self.tasks, "beat": beat, "web": self.web, "static": self.static}


def ran(site: Site, task: str) -> None:
    """Wait until a worker's log says that a task succeeded."""
    look = f"grep -hE 'Task {re.escape(task)}\\[.*\\] succeeded' /var/log/celery/*.log"
    eventually(lambda: site.run(look, status=None), lambda said: said.strip(), within=PATIENCE_S)


def returns(code: str, expected: Any) -> Look:
    """Return a step that runs Python in the application's shell.

    Args:
        code: an expression; the statements before it are separated from it by semicolons.
        expected: its value, as JSON has it.
    """
    *statements, value = code.split("; ")

    def look(site: Site) -> None:
        found = site.python("; ".join(["import json", *statements, f"print(json.dumps({value}))"]))
        assert found == expected, f"{code}: {found!r}, expected {expected!r}"

    return look


def shows(path: str, text: str, host: str = "") -> Look:
    """Return a step that reads a page.

    Args:
        path: of the page.
        text: what it has to contain.
        host: the name that the application is asked by.
    """

    def look(site: Site) -> None:
        answer = site.http(path, host=host)
        assert answer.status == 200, f"{path}: {answer}"
        assert text in answer.body, f"{path}: {answer}"

    return look


def in_turn(*steps: Look) -> Look:
    """Return a step of several steps."""

    def look(site: Site) -> None:
        for step in steps:
            step(site)

    return look


def upload(site: Site, path: str, host: str, name: str, content: bytes) -> Answer:
    """Send a file as a browser's form does.

    Args:
        site: the host.
        path: of the page.
        host: the name that the application is asked by.
        name: of the file.
        content: of the file.
    """
    boundary = "------------------------5d41402abc4b2a76"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Host": host, "Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection = http.client.HTTPConnection(site.platform.address, site.platform.web_port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())
    finally:
        connection.close()


def ends_as(site: Site, path: str, key: str, expected: Any) -> None:
    """Wait until the JSON of a page has a value under a key."""
    eventually(lambda: site.http(path).json(), lambda said: said.get(key) == expected, within=PATIENCE_S)


# --- what each does ---------------------------------------------------------------------------------------------------


def order_tea(site: Site) -> None:
    """Order tea in the Flask shop, and wait until it is paid for."""
    taken = site.http("/orders", body={"product": "tea"})
    assert taken.status == 202, taken
    ends_as(site, taken.json()["result"], "product", "tea")


def order_a_report(site: Site) -> None:
    """Order a report of two pages from the FastAPI application."""
    taken = site.http("/reports/2", body={})
    assert taken.status == 202, taken
    ends_as(site, f"/reports/{taken.json()['id']}", "report", {"pages": 2, "words": 600})


PHOTOS = "photos.example.org"
PHOTO = b"not really a photo"
DIGEST = hashlib.sha256(PHOTO).hexdigest()


def upload_a_photo(site: Site) -> None:
    """Upload a photo to the Django project; a worker reads the file, and nginx serves it."""
    taken = upload(site, "/photos", PHOTOS, "cat.jpg", PHOTO)
    assert taken.status == 202, taken
    eventually(lambda: site.http("/", host=PHOTOS).body, lambda page: "1 photos" in page and DIGEST in page, PATIENCE_S)
    shows(json.loads(taken.body)["url"], PHOTO.decode(), host=PHOTOS)(site)


def shout(site: Site) -> None:
    """Talk to the Channels application through a websocket."""
    said = converse(site.platform.address, site.platform.web_port, "/ws/chat", "chat.example.org", {"text": "hello"})
    assert said == {"text": "HELLO"}, said


FLASK = "; ".join(
    [
        "from shop import create_app",
        "from shop.models import Order, db",
        "from shop.tasks import pay",
        "create_app().app_context().push()",
        "order = Order(product='coffee')",
        "db.session.add(order)",
        "db.session.commit()",
        "pay.delay(order.id).get(timeout=30)",
    ]
)
DJANGO = "import django; django.setup(); from photos.tasks import count; count.delay().get(timeout=30)"
# A round trip of a class that JSON cannot hold, a call with a priority, and a message to all workers.
CHOICES = "; ".join(
    [
        "from media.tasks import Size, encode, forget_cache, scale",
        "size = scale.delay(Size(4, 3), 2).get(timeout=30)",
        "told = forget_cache.delay()",
        "[size.width, size.height, encode.apply_async(['cat'], priority=9).get(timeout=30)]",
    ]
)

APPLICATIONS = (
    Application("tutorial", returns("from tasks import add; add.delay(2, 3).get(timeout=30)", 5)),
    Application(
        "requirements",
        returns(
            "from etl.transform import run; run(2).get(timeout=30)", json.dumps([*range(20)], separators=(",", ":"))
        ),
    ),
    Application(
        "flask",
        returns(FLASK, "coffee"),
        beat="shop.tasks.count_orders",
        web=in_turn(order_tea, shows("/", "orders</h1>")),
        static=shows("/static/shop.css", "teal"),
    ),
    Application(
        "django",
        returns(DJANGO, 0),
        beat="photos.tasks.count",
        web=in_turn(upload_a_photo, shows("/admin/login/", "csrfmiddlewaretoken", PHOTOS)),
        static=in_turn(
            shows("/static/photos/photos.css", "teal", PHOTOS),
            shows("/static/admin/css/base.css", "DJANGO Admin styles", PHOTOS),
        ),
    ),
    Application(
        "fastapi",
        returns("from reports.worker import build; build.delay(1).get(timeout=30)", {"pages": 1, "words": 300}),
        beat="reports.tidy",
        web=order_a_report,
    ),
    Application(
        "channels",
        returns("import django; django.setup(); from chat.tasks import shout; shout.delay('a').get(timeout=30)", "A"),
        web=in_turn(shows("/", "chat", "chat.example.org"), shout),
    ),
    Application(
        "oldest",
        in_turn(
            returns("from legacy.tasks import sums; sums().get(timeout=30)", 15),
            returns("from legacy.tasks import flaky; flaky.delay().get(timeout=30)", 2),
        ),
        beat="legacy.tasks.tick",
        web=in_turn(shows("/", "legacy"), shows("/add/2/3", "5")),
    ),
    Application(
        "choices",
        in_turn(returns(CHOICES, [8, 6, "cat.webm"]), lambda site: ran(site, "media.tasks.forget_cache")),
        beat="media.tasks.sweep",
    ),
)
