"""TLS to services elsewhere, with the settings that the deployment writes: a certificate has to be the host's."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery
from conftest import RUNTIME
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as NoConnection

PASSWORD = "p@s:s/w#r%25d"
QUOTED = "p%40s%3As%2Fw%23r%2525d"


def write_certificate(folder, name, *addresses):
    """Write a certificate, which is its own authority, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses] or [x509.DNSName(name)]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return tuple(map(str, paths))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Certificates by name: valid for 127.0.0.1, and for another host."""
    folder = tmp_path_factory.mktemp("certificates")
    return {"good": write_certificate(folder, "good", "127.0.0.1"), "other": write_certificate(folder, "other.example")}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def redis_with_tls(certificates, tmp_path):
    """Return a function that starts a Redis with a password and a certificate, and returns its port."""
    started = []

    def start(name):
        port, (certificate, key) = free_port(), certificates[name]
        options = ["--port", "0", "--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key]
        options += ["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--requirepass", PASSWORD]
        command = [RUNTIME.parent / "bin/redis-server", *options, "--dir", tmp_path, "--appendonly", "no"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return port
            assert started[-1].poll() is None, "redis-server does not start"
            time.sleep(0.05)
        raise AssertionError("redis-server does not listen")

    yield start
    for process in started:
        process.kill()
        process.wait()


def application(platform, monkeypatch, port, authority, certificates):
    options = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": certificates[authority][0]}
    platform(
        broker="redis",
        queue_arguments={},
        managed_broker=False,
        settings={"broker_use_ssl": options, "redis_backend_use_ssl": options},
    )
    monkeypatch.setenv("CELERY_BROKER_URL", f"rediss://:{QUOTED}@127.0.0.1:{port}/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", f"rediss://:{QUOTED}@127.0.0.1:{port}/1")
    return Celery("x", set_as_current=False)


def test_redis_as_broker_and_result_store(platform, monkeypatch, redis_with_tls, certificates):
    app = application(platform, monkeypatch, redis_with_tls("good"), "good", certificates)
    with app.connection_for_write() as connection:
        assert type(connection.transport).__module__ == "celery_on_hosts.redis_transport"
        queue = app.amqp.queues["low"].bind(connection.default_channel)
        queue.declare()
        app.amqp.Producer(connection).publish({"n": 1}, routing_key="low", exchange=queue.exchange)
        assert connection.default_channel._size("low") == 1
        message = queue.get()
        assert message.payload == {"n": 1}
        message.ack()
    app.backend.set("key", "value")
    assert app.backend.get("key") == b"value"


@pytest.mark.parametrize(("served", "authority"), [("other", "other"), ("good", "other")])
def test_redis_with_a_wrong_certificate_is_not_used(
    platform, monkeypatch, redis_with_tls, certificates, served, authority
):
    app = application(platform, monkeypatch, redis_with_tls(served), authority, certificates)
    with app.connection_for_write() as connection, pytest.raises(OperationalError, match="certificate"):
        connection.default_channel.client.ping()
    with pytest.raises(NoConnection, match="certificate"):
        app.backend.client.ping()


@pytest.mark.parametrize(
    ("served", "authority", "said"),
    [
        ("good", "good", "closed|reset|unexpected|EOF"),
        ("other", "other", "certificate"),
        ("good", "other", "certificate"),
    ],
)
def test_rabbitmq_has_to_show_a_valid_certificate(platform, monkeypatch, certificates, served, authority, said):
    """A server that ends after the handshake shows whether the client accepted its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates[served])
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for _ in range(2):  # kombu tries twice
                answer()

        def answer():
            connection, _ = server.accept()
            with contextlib.suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secure:
                accepted.append(secure.recv(4))

        thread = threading.Thread(target=serve)
        thread.start()
        options = {"cert_reqs": 2, "server_hostname": "127.0.0.1", "ca_certs": certificates[authority][0]}
        platform(managed_broker=False, settings={"broker_use_ssl": options})
        monkeypatch.setenv("CELERY_BROKER_URL", f"amqps://u:{QUOTED}@127.0.0.1:{server.getsockname()[1]}/shop")
        app = Celery("x", set_as_current=False)
        with app.connection_for_write() as connection, pytest.raises(OSError, match=said):
            connection.connect()
        thread.join(10)
    assert (b"AMQP" in accepted) is (said != "certificate"), "the client speaks to no server that it does not know"
