"""``platform.json``: what the controller writes is what the runtime reads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import RUNTIME

from celery_on_hosts.platform_file import Platform, PlatformError, Program

PLATFORM = Platform(
    app="tasks",
    broker="redis",
    queues=("celery", "low"),
    settings={"accept_content": ["json"], "broker_connection_max_retries": None},
    programs=(
        Program("celery", "worker", node="celery@a", queues=("celery",)),
        Program("web", "web", url="http://127.0.0.1:8000/", host="shop.example.org", below=500),
    ),
    max_time_limit_s=300,
    drained=True,
)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "platform.json"
    path.write_text(PLATFORM.to_json())
    assert Platform.load(str(path)) == PLATFORM


def test_a_release_reads_what_a_later_deployment_wrote():
    data = json.loads(PLATFORM.to_json()) | {"unheard_of": 1}
    data["programs"][0]["unheard_of"] = 1
    assert Platform.from_mapping(data, "test") == PLATFORM


def test_what_is_left_out_has_its_default():
    read = Platform.from_mapping({"broker": "rabbitmq", "queues": ["celery"]}, "test")
    assert read == Platform(app="", broker="rabbitmq", queues=("celery",))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"broker": "kafka"}, "broker is 'kafka'; allowed are rabbitmq, redis."),
        ({"queues": "celery"}, "queues is 'celery'; it has to be a list"),
        ({"redis_transport": "fast"}, "redis_transport is 'fast'; allowed are atomic, stock."),
    ],
)
def test_a_wrong_value_is_refused_on_both_sides(keys, words):
    with pytest.raises(PlatformError, match=words):
        Platform(**{"app": "tasks", "broker": "redis", "queues": ("celery",), **keys})
    with pytest.raises(PlatformError, match=f"^test: {words}"):
        Platform.from_mapping({"broker": "redis", "queues": ["celery"], **keys}, "test")


def test_the_controller_needs_nothing_but_the_standard_library():
    code = "import sys; import celery_on_hosts.platform_file, celery_on_hosts.names; "
    code += "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'celery_on_hosts'})"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(RUNTIME)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("set()", "{'__main__'}")
