"""What a worker takes, and what it refuses."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from live import Live, Local
from unit_settings import BARE

APP = Path(__file__).resolve().parent.parent


def test_msgpack_and_yaml_for_those_who_ask_for_it(live: Live) -> None:
    assert live.result("by_msgpack", text="grüße") == len("grüße".encode())
    assert live.result("by_yaml", year=2000, month=2, day=29) == "Tuesday"
    assert "day is out of range" in live.run("by_yaml", month=2, day=30)["error"]


def test_a_pickled_message_is_refused_and_the_worker_goes_on(live: Live) -> None:
    refused = live.start("pickle_is_refused")
    assert live.result("delay") == 5
    time.sleep(0.5)
    assert live.ask(refused)["state"] == "PENDING"
    if isinstance(live, Local):
        assert "Refusing to deserialize untrusted content of type pickle" in (live.folder / "worker.log").read_text()


def test_no_pickle_by_any_environment() -> None:
    code = "from tasks import app; print(app.conf.accept_content, app.conf.result_accept_content)"
    env = {**BARE, "CELERY_ACCEPT_CONTENT": "pickle", "CELERY_TASK_SERIALIZER": "pickle"}
    said = subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=env, text=True)
    assert said == "['json', 'msgpack', 'yaml'] ['json']\n"


def make_key(folder: Path, name: str) -> dict[str, str]:
    """Make a key and its certificate; return the environment that names them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    now = datetime.now(UTC)
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / f"{name}.crt").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    return {
        "CELERY_SECURITY_KEY": f"{folder}/{name}.key",
        "CELERY_SECURITY_CERTIFICATE": f"{folder}/{name}.crt",
        "CELERY_SECURITY_CERT_STORE": f"{folder}/{name}.crt",
    }


def run(code: str, environment: dict[str, str]) -> Any:
    return json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=APP, env=environment))


SEND = """
import json
from tasks import add
from tasks.examples.safety import by_msgpack, by_yaml, unsigned
results = [add.delay(1, 1), by_msgpack(), by_yaml()]
unsigned()
add.apply_async((3, 3), serializer="pickle")
add.apply_async((4, 4), queue="aside")
print(json.dumps([one.id for one in results]))
"""
# Take the signed message of add(4, 4), and send it on with other arguments, and as it was.
ALTER = """
import json
from kombu.utils.encoding import bytes_to_str
from kombu.serialization import registry
from base64 import b64decode, b64encode
from tasks import app
with app.connection_for_write() as connection, connection.SimpleQueue("aside") as aside:
    message = aside.get(timeout=10)
    message.ack()
    body = b64decode(message.body)
    altered = b64encode(body.replace(b"[4, 4]", b"[5, 5]"))
    assert altered != message.body
    producer = connection.Producer()
    for changed in (altered, message.body):
        producer.publish(changed, routing_key="celery", headers=message.headers, content_type="application/data",
                         content_encoding="utf-8", correlation_id=message.properties["correlation_id"])
print(json.dumps(True))
"""


def test_with_a_key_only_signed_messages_are_taken(live: Live, tmp_path: Path) -> None:
    if not isinstance(live, Local):
        pytest.skip("the deployment says whether messages are signed")
    ledger = tmp_path / "ledger"
    environment = {
        **live.environment,
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{live.redis_port}/9",
        "TASKS_LEDGER": str(ledger),
        "TASKS_QUEUES": "",
        **make_key(tmp_path, "ours"),
    }
    ids = run(SEND, environment)
    run(SEND, {**environment, **make_key(tmp_path, "theirs")})  # signed, by somebody else
    run(ALTER, environment)
    worker = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-n", "signed@here"]
    asks = [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "ping", "-d", "signed@here", "-t", "9", "--json"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(worker, cwd=APP, env=environment, stderr=log) as process:
        try:
            deadline = time.monotonic() + 30
            ended: list[str] = []
            while len(ended) < 4 and time.monotonic() < deadline:
                time.sleep(0.1)
                lines = map(json.loads, ledger.read_text().splitlines()) if ledger.exists() else []
                ended = [one["id"] for one in lines if one["event"] == "success"]
            pong = subprocess.check_output(asks, cwd=APP, env=environment)
        finally:
            process.kill()
    said = (tmp_path / "log").read_text()
    assert ended[:3] == ids, said
    assert len(ended) == 4, "and add(4, 4), which nobody changed"
    refused = Counter(re.findall(r"^kombu.exceptions.(\w+)", said, re.MULTILINE))
    assert refused == {"ContentDisallowed": 4, "DecodeError": 4}, "unsigned or pickled; by somebody else, or altered"
    assert json.loads(pong) == {"signed@here": {"ok": "pong"}}, "what is asked of workers is signed, too"


def test_a_key_without_its_certificate_is_an_error() -> None:
    environment = {**BARE, "CELERY_SECURITY_KEY": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", "from tasks import add; add.delay(1, 1)"],
        cwd=APP,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "CELERY_SECURITY_CERTIFICATE" in done.stderr
