"""The check of an application: what does not fit is reported before it is deployed."""

from __future__ import annotations

import json

import pytest
from conftest import PLAIN, RUNTIME, since

from celery_on_hosts.weaknesses import NAMES

IN_MESSAGES = since("5.7", "no message has the limits of settings, which are the worker's")


@pytest.fixture
def check(platform, app_dir, python):
    """Check a tasks.py; returns the exit code, the JSON report and stderr."""

    def run(text: str, *arguments: str, app: str = "tasks", url: str = "memory://", **keys):
        platform(**keys)
        command = ("-m", "celery_on_hosts.check", "--app", app, "--json", *arguments)
        done = python(app_dir(tasks=text), *command, CELERY_BROKER_URL=url)
        return done.returncode, json.loads(done.stdout), done.stderr

    return run


def test_a_plain_app_fits(check):
    code, report, stderr = check(PLAIN + "@app.task\ndef add(x, y): return x + y\n")
    assert (code, report["status"], report["tasks"], stderr) == (0, "ok", 1, "")
    assert "task tasks.add" in report["queues"]["celery"]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("@app.task(queue='video')\ndef t(): pass", "task tasks.t"),
        ("app.conf.task_routes = {'tasks.t': 'video'}", "task_routes[tasks.t]"),
        ("app.conf.task_routes = {'tasks.*': {'queue': 'video'}}", "task_routes["),
        ("app.conf.task_routes = ([('tasks.*', {'queue': 'video'})],)", "task_routes["),
        (
            "app.conf.beat_schedule = {'b': {'task': 'x', 'schedule': 1, 'options': {'queue': 'video'}}}",
            "beat_schedule[b]",
        ),
        ("app.conf.task_default_queue = 'video'", "task_default_queue"),
        (
            "from kombu import Queue\napp.conf.task_queues = [Queue('celery'), Queue('low'), Queue('video')]",
            "task_queues",
        ),
    ],
)
def test_a_queue_nobody_reads(check, text, who):
    code, report, stderr = check(PLAIN + text + "\n")
    assert code == 1
    assert "no worker reads queue 'video'" in stderr
    assert who in stderr
    assert "celery_workers" in stderr
    assert any(who in user for user in report["queues"]["video"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_like_it\n", ["No module named 'nothing_like_it'", "tasks.py, line 1", "lock"]),
        ("def f(:\n", ["SyntaxError", "tasks.py, line 1"]),
        ("x = 1 / 0\n", ["ZeroDivisionError", "tasks.py, line 1: x = 1 / 0"]),
        ("raise SystemExit('no key')\n", ["SystemExit: no key", "tasks.py, line 1"]),
        ("x = 1\n", ["without a Celery application"]),
        ("app = 1\n", ["not a Celery application"]),
        (PLAIN + "app.conf.imports = ['gone']\n", ["No module named 'gone'"]),
        (
            "import ctypes\nctypes.CDLL('libnowhere.so.7')",
            ["libnowhere.so.7: cannot open", "tasks.py, line 2", "celery_packages"],
        ),
    ],
)
def test_an_app_that_does_not_import(check, text, words):
    code, _, stderr = check(text)
    assert code == 2
    for word in words:
        assert word in stderr
    assert "Traceback" not in stderr


def test_a_module_that_is_not_there(check):
    code, _, stderr = check("", app="gone")
    assert code == 2
    assert "there is no module gone" in stderr


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ("LANGUAGE_CODE = 'none of any people'", 1, "(translation.E001)"),
        ("ROOT_URLCONF = 'gone'", 2, "No module named 'gone'"),
        ("", 0, ""),
    ],
)
def test_a_django_project_that_its_own_checks_refuse(platform, app_dir, python, setting, code, words):
    platform()
    folder = app_dir(tasks=PLAIN, settings=f"USE_TZ = True\n{setting}\n")
    arguments = ("-m", "celery_on_hosts.check", "--app", "tasks")
    done = python(folder, *arguments, DJANGO_SETTINGS_MODULE="settings")
    assert done.returncode == code
    assert words in done.stderr
    asked = python(folder, *arguments, DJANGO_SETTINGS_MODULE="settings", CELERY_SKIP_CHECKS="yes")
    assert asked.returncode == 0, "who has switched them off has them off"


def test_a_check_of_django_that_fails_itself_says_how_to_leave_it_out(platform, app_dir, python):
    platform()
    checks = "from django.core.checks import register\n\n\n@register()\ndef look(**_): raise AttributeError('client')\n"
    folder = app_dir(tasks="import checks\n" + PLAIN, settings="USE_TZ = True\n", checks=checks)
    done = python(folder, "-m", "celery_on_hosts.check", "--app", "tasks", DJANGO_SETTINGS_MODULE="settings")
    for word in ("AttributeError: client", "checks.py, line 5", 'CELERY_SKIP_CHECKS: "yes"'):
        assert word in done.stderr
    assert "without a Celery application" not in done.stderr


def test_an_application_that_is_installed_among_the_packages_is_told_where_it_fails(platform, tmp_path, python):
    platform()
    packages = tmp_path / "lib/python3.13/site-packages"
    (packages / "shop").mkdir(parents=True)
    (packages / "shop/celery_app.py").write_text("import celery\n\ncelery.gone\n")
    arguments = ("-m", "celery_on_hosts.check", "--app", "shop.celery_app")
    done = python(tmp_path, *arguments, PYTHONPATH=f"{RUNTIME}:{packages}")
    assert "shop/celery_app.py, line 3: celery.gone" in done.stderr
    assert "without a Celery application" not in done.stderr


def test_no_platform(check, platform, app_dir, python):
    platform()
    done = python(app_dir(tasks=PLAIN), "-m", "celery_on_hosts.check", "--app", "tasks", CELERY_PLATFORM="")
    assert done.returncode == 3
    assert "CELERY_PLATFORM is not set" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app.conf.broker_transport_options = {'visibility_timeout': 43200}", "visibility_timeout to 43200 s"),
        ("app.conf.broker_transport_options = {'visibility_timeout': 30}", ""),
    ],
)
def test_what_weakens_the_promise_on_redis_is_a_warning(check, text, words):
    settings = {"broker_transport_options": {"visibility_timeout": 30}, "task_time_limit": 300}
    code, _, stderr = check(PLAIN + text + "\n", broker="redis", queue_arguments={}, settings=settings)
    assert code == 0
    assert words in stderr if words else stderr == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app.conf.task_acks_late = False", "task_acks_late is False"),
        ("app.conf.accept_content = ['json', 'pickle']", "accept_content has pickle"),
        ("app.conf.broker_transport_options = {'confirm_publish': False}", "confirm_publish off"),
        ("@app.task(acks_late=False)\ndef t(): pass", "task tasks.t has acks_late=False"),
        ("@app.task(time_limit=900)\ndef t(): pass", "task tasks.t may run 900 s"),
        ("@app.task(soft_time_limit=900)\ndef t(): pass", "task tasks.t has a soft_time_limit of 900 s"),
        ("from kombu import Queue\napp.conf.task_queues = [Queue('celery'), Queue('low')]", "not a quorum queue"),
        ("app.conf.beat_schedule = {'b': {'task': 'gone', 'schedule': 1}}", "does not define"),
        (
            "app.conf.task_routes = lambda name, args, kwargs, options, task=None: {'queue': args[0]}",
            "needs its arguments",
        ),
    ],
)
def test_what_weakens_the_promise_is_a_warning(check, text, words):
    text += "\n@app.task\ndef other(): pass\n"
    code, report, stderr = check(
        PLAIN + text, max_time_limit_s=600, settings={"task_time_limit": 300, "task_acks_late": True}
    )
    assert (code, report["status"]) == (0, "warning")
    assert words in stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app = Celery('tasks', loader='app')", "chooses its own loader"),
        ("app.conf.task_always_eager = True", "task_always_eager"),
        ("app.conf.broker_read_url = 'amqp://u:secret@h//'", "broker_read_url is set in the application"),
        ("app.conf.task_serializer = 'pickle'", "would be refused"),
        ("app.conf.task_queue_max_priority = 5", "maximum priority"),
        pytest.param(
            "app.conf.task_soft_time_limit = 90\n@app.task(time_limit=60)\ndef t(): pass",
            "delay() of tasks.t would raise ValueError: the soft time limit is 90 s, longer than the hard one of 60 s.",
            marks=IN_MESSAGES,
        ),
    ],
)
def test_what_breaks_it_is_an_error(check, text, words):
    code, _, stderr = check(PLAIN + text + "\n")
    assert code == 1
    assert words in stderr
    assert "secret" not in stderr


def test_what_the_deployment_keeps(check, platform, app_dir, python):
    """The last line is JSON. An application that does not fit leaves nothing to keep."""
    platform()
    text = f"print('hello')\n{PLAIN}app.conf.task_acks_late = False\n"
    arguments = ("-m", "celery_on_hosts.check", "--app", "tasks", "--summary")
    done = python(app_dir(tasks=text), *arguments)
    assert done.stderr == ""
    (found,) = json.loads(done.stdout.splitlines()[-1])["weaknesses"]
    assert (found["name"], found["found"]) == ("task_acks_late", "task_acks_late is False in the application")
    assert found["consequence"]
    assert found["remedy"]
    done = python(app_dir(tasks=f"{text}app.conf.task_always_eager = True\n"), *arguments)
    assert (done.returncode, done.stdout) == (1, "hello\n")
    assert done.stderr.startswith("error: task_always_eager")
    assert "warning" not in done.stderr, "what stops the deployment stands alone"


def test_each_weak_setting_can_be_accepted():
    from celery_on_hosts.check.settings import WEAK

    assert {name for name, *_ in WEAK} <= NAMES.keys()


SENDS = """
from celery import Task, signals

class Stored(Task):
    def apply_async(self, *args, **options):
        raise RuntimeError("wrote to a database")

def first(task, args, kwargs, options):
    return args[0]

@signals.before_task_publish.connect
def count(**_):
    raise RuntimeError("counted")

@app.task
def plain(): pass

@app.task(time_limit=3)
def short(): pass

@app.task(shadow_name=first)
def shown(name): pass

@app.task(base=Stored)
def stored(): pass
"""


@pytest.mark.parametrize("setting", ["task_time_limit = 60", "CELERYD_TASK_TIME_LIMIT = 60"])
def test_tasks_that_can_be_sent_fit(check, setting):
    """Limits below the platform's soft limit fit; code that needs arguments or has effects is not called."""
    settings = {"task_time_limit": 300, "task_soft_time_limit": 240, "accept_content": ["json"]}
    found = check(f"{PLAIN}app.conf.{setting}\n{SENDS}", settings=settings, max_time_limit_s=300)
    assert found[::2] == (0, "")


FAILS = """
def work(): pass
for name, option in {"a": {"serializer": "gone"}, "b": {"compression": "gone"}, "c": {"expires": "never"}}.items():
    app.task(work, name=name, **option)
"""


def test_tasks_that_cannot_be_sent_are_refused(check):
    code, _, stderr = check(PLAIN + FAILS)
    assert code == 1
    assert "delay() of a would raise SerializerNotInstalled: No encoder installed for gone. Correct" in stderr
    assert "delay() of b would raise KeyError: 'gone'. Correct" in stderr
    assert "delay() of c would raise " in stderr


OWN = """
class Elsewhere(app.Task):
    @property
    def backend(self): raise RuntimeError("no store here")
@app.task(base=Elsewhere)
def far(): pass
"""


def test_an_error_of_the_applications_own_code_is_a_warning(check):
    """The error may be meant, or depend on the caller."""
    code, _, stderr = check(PLAIN + OWN)
    assert code == 0
    assert "warning: delay() of tasks.far: it would raise RuntimeError: no store here. Correct it" in stderr


@IN_MESSAGES
def test_a_refusal_names_a_setting_once_for_all_tasks(check):
    text = "app.conf.update(task_soft_time_limit=90, task_time_limit=60)\ndef work(): pass\n"
    text += "for name in 'abcde': app.task(work, name=name)\n"
    code, _, stderr = check(PLAIN + text)
    assert code == 1
    assert "delay() of a, b, c and 2 more would raise ValueError" in stderr
    assert stderr.count("would raise") == 1


def test_a_dotted_suffix_would_run_tasks_twice(check):
    code, _, stderr = check(PLAIN, queues=["celery", "eu.celery"])
    assert code == 1
    assert "'eu.celery' ends in the name of queue 'celery'" in stderr


def test_declare(check):
    code, report, stderr = check(PLAIN, "--declare", broker="redis", queue_arguments={})
    assert (code, report["declared"], stderr) == (0, ["celery", "low"], "")


def test_a_redis_elsewhere_says_whether_it_keeps_tasks(check, server, redis):
    keys = {"broker": "redis", "queue_arguments": {}, "managed_broker": False}

    def warnings(**changes):
        return check(PLAIN, "--declare", url=server.url, **(keys | changes))[1]["warnings"]

    assert warnings() == []
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("appendonly", "no")
    try:
        evicts, forgets = warnings()
        assert "maxmemory-policy allkeys-lru" in evicts
        assert "no append-only file" in forgets
        assert warnings(managed_broker=True) == []
    finally:
        redis.config_set("appendonly", "yes")
        redis.config_set("maxmemory-policy", "noeviction")


def test_a_broker_that_is_away(platform, app_dir, python):
    platform()
    folder = app_dir(tasks=PLAIN)
    url = "amqp://celery:secret@127.0.0.1:1//"
    done = python(folder, "-c", "from celery_on_hosts.check import command; import functools, sys; "
                  "command.declare = functools.partial(command.declare, timeout=0.5); "
                  "sys.exit(command.main(['--app', 'tasks', '--declare']))", CELERY_BROKER_URL=url)  # fmt: skip
    assert done.returncode == 3
    assert "does not answer" in done.stderr
    assert "secret" not in done.stderr + done.stdout


SIGNING = "app.conf.update(task_serializer='auth', accept_content=['auth'])\n"


def test_an_app_that_takes_unsigned_messages_where_they_are_to_be_signed(check):
    code, _, stderr = check(PLAIN, message_signing=True)
    assert code == 1
    assert "accept_content is json: messages that nobody signed would be run" in stderr
    assert check(PLAIN + SIGNING, message_signing=True)[0] == 0
    assert check(PLAIN, message_signing=False)[0] == 0


def reader(program="celery", queues=("celery",), stop_wait=360, time_limit=300, own_limit=False):
    return {"program": program, "queues": queues, "stop_wait": stop_wait, "time_limit": time_limit,
            "own_limit": own_limit}  # fmt: skip


REPORTS = reader("celery-reports", ("low",), 3660, 3600, True)
LONG = "@app.task({})\ndef t(): pass"
LOW = "app.conf.task_routes = {'tasks.t': 'low'}\n"


@pytest.mark.parametrize(
    ("text", "readers", "words"),
    [
        (LONG.format("time_limit=3000"), [reader(), REPORTS], ["task tasks.t may run 3000 s by its time_limit",
         "a stop of the worker celery waits for 360 s only", "time_limit: 3000 in celery_workers"]),
        (LOW + LONG.format("time_limit=3000"), [reader(), REPORTS], []),
        (LOW + LONG.format("time_limit=3000"), [reader(), reader(queues=("low",))], ["worker celery waits for 360"]),
        (LOW + LONG.format("time_limit=3000"), [reader(queues=("celery", "low")), REPORTS], ["worker celery waits"]),
        (LONG.format("time_limit=350"), [reader()], []),  # longer than the worker's limit, and a stop waits for it
        (LONG.format("soft_time_limit=400"), [reader()], ["of 400 s", "limit of the worker celery is 300 s"]),
        (LOW + LONG.format("soft_time_limit=400"), [reader(), REPORTS], []),
        (LONG.format("soft_time_limit=400"), [reader(time_limit=None)], []),
        ("app.conf.task_time_limit = 900\n" + LONG.format(""), [reader()],
         ["task tasks.t may run 900 s by the application's task_time_limit"]),
        ("app.conf.task_time_limit = 60\n" + LONG.format(""), [reader(), REPORTS],
         ["celery-reports has time_limit: 3600 in celery_workers, but the application's task_time_limit is 60 s"]),
        ("app.conf.task_time_limit = 60\n" + LONG.format(""), [reader()], []),
    ],
)  # fmt: skip
def test_limits_are_compared_with_those_of_the_workers(check, text, readers, words):
    settings = {"task_time_limit": 300, "task_soft_time_limit": 240, "accept_content": ["json"]}
    code, report, _ = check(PLAIN + text, settings=settings, max_time_limit_s=300, readers=readers)
    assert code == 0
    assert len(report["warnings"]) == bool(words), report["warnings"]
    for word in words:
        assert word in report["warnings"][0]


def test_a_limit_of_many_tasks_is_said_once(check):
    text = "app.conf.task_time_limit = 900\ndef work(): pass\n"
    text += "for name in 'abcde': app.task(work, name=name)\n"
    _, report, _ = check(PLAIN + text, readers=[reader()])
    (warning,) = report["warnings"]
    assert warning.startswith("task a, b, c and 2 more may run 900 s")
