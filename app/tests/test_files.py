"""Files that people send: what is taken, and what a file that was made to do harm comes to."""

import io
import struct
import sys
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeoutError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from tasks import files, limits, registry
from tasks.examples.__main__ import main
from tasks.models import Run, Thumbnail, Upload

pytestmark = pytest.mark.django_db


def picture(width: int = 40, height: int = 20, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width, height)).save(content, kind, **options)
    return content.getvalue()


def bomb(width: int, height: int, size: int = 0) -> bytes:
    """A PNG that says how large it is, and has little in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * size, 9)) + chunk(b"IEND", b"")


def send(client: Client, content: bytes, content_type: str = "image/png", name: str = "a.png") -> Any:
    return client.post(f"/api/files?name={name}", content, content_type=content_type)


# --- the API ------------------------------------------------------------------------------------------------------


def test_a_file_is_kept(client: Client) -> None:
    response = send(client, picture())
    upload = Upload.objects.get()
    assert response.status_code == 201
    assert response.json() == {"id": str(upload.pk), "kind": "image", "name": "a.png", "size": upload.size}
    assert bytes(upload.content) == picture()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("", "image"),
        ("../../etc/passwd", "passwd"),
        ("C:%5CUsers%5Cme%5Cphoto 1.png", "photo 1.png"),
        ("<script>.png", "_script_.png"),
        ("a%00b%0Ac.png", "a_b_c.png"),
        ("é" * 200, "é" * 100),
    ],
)
def test_its_name_is_only_shown_and_harmless(client: Client, name: str, kept: str) -> None:
    assert send(client, picture(), name=name).json()["name"] == kept


@pytest.mark.parametrize(
    ("content_type", "content", "status", "words"),
    [
        ("image/svg+xml", b"<svg/>", 415, "image/jpeg, image/png, image/gif, text/csv"),
        ("text/html", b"<script>", 415, "content types"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "content types"),
        ("text/plain", b"a,b\n1,2", 415, "content types"),
        ("", b"", 415, "content types"),
        ("image/png", b"<svg onload='alert(1)'/>", 422, "not a JPEG, PNG or GIF"),
        ("image/png", b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, "not a JPEG, PNG or GIF"),
        ("image/png", b"\x89PNG\r\n\x1a\n", 422, "not a JPEG, PNG or GIF"),
        ("image/png", picture(kind="TIFF"), 422, "not a JPEG, PNG or GIF"),
        ("image/png", picture(kind="WEBP"), 422, "not a JPEG, PNG or GIF"),
        ("image/gif", bomb(5001, 5000), 422, "at most 25,000,000 pixels, not 5001 by 5000"),
        ("image/png", bomb(30000, 30000), 422, "not a JPEG"),  # Pillow itself stops here
        ("image/png", bomb(2**31 - 1, 2**31 - 1), 422, "not a JPEG"),
        ("image/png", b"x" * (8 * 2**20 + 1), 422, "1 to 8,388,608 bytes"),
        ("image/png", b"x" * (limits.MAX_BODY + 1), 413, "larger than 8256 KiB"),
        ("text/csv", b"a\n" + b"1\n" * 2**20, 422, "1 to 2,097,152 bytes"),
        ("text/csv", b"a,b", 422, "1 to 50,000 rows, not 0"),
        ("text/csv", b"\n\n", 422, "1 to 100 columns"),
        ("text/csv", b"a\n" + b"1\n" * 50_001, 422, "not 50,001"),
        ("text/csv", b"a,b\n1,2,3\n", 422, "line 2 must have 2 columns, not 3"),
        ("text/csv", b"a,a\n1,2\n", 422, "one name"),
        ("text/csv", b"a,\n1,2\n", 422, "must name"),
        ("text/csv", b"a,b\0\n1,2\n", 422, "must name"),
        ("text/csv", ",".join(map(str, range(101))).encode() + b"\n", 422, "1 to 100 columns"),
        ("text/csv", b"a,b\n1," + b"x" * 1001, 422, "more than 1000 characters"),
        ("text/csv", b"a,b\n1," + b"x" * 200_000, 422, "line 2 is not CSV"),
        ("text/csv", b'a,b\n1,"never ends', 422, "is not CSV"),
        ("text/csv", "a,b\n1,ü".encode("latin-1"), 422, "UTF-8"),
        ("text/csv", picture(), 422, "UTF-8"),
    ],
)
def test_bad_files_are_refused(client: Client, content_type: str, content: bytes, status: int, words: str) -> None:
    response = send(client, content, content_type)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert not Upload.objects.exists()


def test_a_file_that_is_too_large_is_not_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.http.HttpRequest.read", lambda *_: pytest.fail("it was read"))
    assert send(client, b"x" * (8 * 2**20 + 1)).status_code == 422
    assert send(client, b"x" * (limits.MAX_BODY + 1)).status_code == 413


def test_a_form_is_not_larger_either(client: Client) -> None:
    response = client.post("/", {"file": SimpleUploadedFile("a.png", b"x" * (limits.MAX_BODY + 1))})
    assert (response.status_code, response["Content-Type"]) == (413, "text/plain")


def test_an_empty_file() -> None:
    with pytest.raises(files.BadFile, match="1 to 8,388,608 bytes"):
        files.store("image", "a.png", b"")


def test_there_is_an_end_of_room(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_KEPT", 2 * len(picture()))
    assert [send(client, picture()).status_code for _ in range(3)] == [201, 201, 507]


def test_not_kept_without_the_database(client: Client, database_down: None) -> None:
    assert send(client, picture()).json()["error"]["code"] == "database_unavailable"


# --- images -------------------------------------------------------------------------------------------------------


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_a_thumbnail_of_each_kind(kind: str, mode: str) -> None:
    try:
        content = picture(640, 320, kind, mode)
    except (OSError, ValueError):
        return  # such files there are not
    small = opened(files.thumbnail(content, 64))
    assert (small.format, small.size) == ("WEBP", (64, 32))


def test_a_small_image_stays_as_it_is() -> None:
    assert opened(files.thumbnail(picture(40, 20), 256)).size == (40, 20)


def test_a_thumbnail_is_upright_and_tells_nothing_of_the_camera() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "the maker"  # to be turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"  # where it was taken
    content = picture(640, 320, "JPEG", exif=exif, comment=b"secret", icc_profile=b"profile")
    small = opened(files.thumbnail(content, 64))
    assert small.size == (32, 64)
    assert not small.getexif()
    assert "icc_profile" not in small.info


@pytest.mark.parametrize(
    "content",
    [
        picture(640, 320)[:100],
        picture(64, 64, "JPEG")[:400],
        bomb(4000, 4000),
        bomb(100, 100, size=50_000_000),  # more pixels than it says
    ],
    ids=["cut off", "cut off", "no pixels", "too many pixels"],
)
def test_a_damaged_image_is_an_error_that_says_so(content: bytes) -> None:
    try:
        small = files.thumbnail(content, 64)
    except files.BadFile as error:
        assert str(error) in ("the image cannot be decoded", "this is not a JPEG, PNG or GIF image")  # noqa: PT017
    else:
        assert opened(small).width <= 64


def test_a_thumbnail_is_served_and_can_do_nothing(client: Client) -> None:
    upload = files.store("image", "a.png", picture())
    assert client.get(f"/thumbnails/{upload.pk}/64").status_code == 404
    Thumbnail.objects.create(upload=upload, side=64, content=files.thumbnail(picture(), 64))
    response = client.get(f"/thumbnails/{upload.pk}/64")
    assert opened(response.content).format == "WEBP"
    assert response["Content-Type"] == "image/webp"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3,4",
        b"a;b\n1;2\n\n3;4\n\n",
        b"a\tb\r\n1\t2\r\n3\t4\r\n",
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
        b'"a","b"\n1,"2"\n3,4',
    ],
)
def test_tables_as_programs_write_them(content: bytes) -> None:
    files.store("csv", "table", content)
    assert list(files.rows(content)) == [["a", "b"], ["1", "2"], ["3", "4"]]


# --- files as arguments -------------------------------------------------------------------------------------------


def run(client: Client, example: str, **arguments: Any) -> Any:
    return client.post(f"/api/examples/{example}", {"arguments": arguments}, content_type="application/json")


def of_kind(kind: str) -> str:
    return str(files.store(kind, "", picture() if kind == "image" else b"a,b\n1,2").pk)


@pytest.mark.parametrize(
    ("example", "arguments", "words"),
    [
        ("small_picture", lambda: {"image": "../sample"}, "image: string should match"),
        ("small_picture", lambda: {"image": "sample\n"}, "image: string should match"),
        ("small_picture", lambda: {"image": str(uuid.uuid4())}, "image: there is no such file"),
        ("small_picture", lambda: {"image": of_kind("csv")}, "image: there is no such file"),
        ("small_picture", lambda: {"side": 10_000}, "side: "),
        ("small_picture", lambda: {"side": 100}, "side: "),
        ("report_of_a_table", lambda: {"table": of_kind("image")}, "csv: there is no such file"),
        ("report_of_a_table", lambda: {"table": of_kind("csv")}, "no column product; there are: a, b"),
        ("report_of_a_table", lambda: {"of": "x"}, "no column x; there are: product, quantity, price"),
    ],
)
def test_bad_arguments_are_refused(client: Client, example: str, arguments: Callable[[], Any], words: str) -> None:
    response = run(client, example, **arguments())
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]
    assert not Run.objects.exists()


def on_page(client: Client, content: bytes, **values: Any) -> Any:
    return client.post("/examples/small_picture", {"image": SimpleUploadedFile("a.png", content), **values})


def test_a_form_sends_a_file(client: Client) -> None:
    response = on_page(client, picture(), side="64")
    assert response.status_code == 302
    assert Run.objects.get().arguments == {"image": str(Upload.objects.get().pk), "side": 64}


def test_a_bad_file_is_an_error_on_the_page(client: Client) -> None:
    for content, words in (
        (b"<svg/>", "not a JPEG"),
        (bomb(5001, 5000), "at most 25,000,000"),
        (b"x" * 2**23, "not a"),
    ):
        response = on_page(client, content)
        assert response.status_code == 422
        assert words in response.content.decode()
    assert on_page(client, b"x" * (2**23 + 1)).status_code == 422
    assert not Run.objects.exists()
    assert not Upload.objects.exists()


def test_a_form_without_a_file_takes_the_sample(client: Client) -> None:
    assert client.post("/examples/small_picture", {"image": "sample", "side": "64"}).status_code == 302
    assert client.post("/examples/small_picture", {"image": "other"}).status_code == 422


def test_samples_are_there_once() -> None:
    for kind in files.SAMPLES:
        assert files.find(kind, "sample").pk == files.find(kind, "sample").pk
        files.CHECKS[kind](bytes(files.find(kind, "sample").content))
    assert registry.find("small_picture").uploads == {"image": "image"}


def test_the_shell_sends_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shell(argument: str) -> str | None:
        monkeypatch.setattr(sys, "argv", ["examples", "small_picture", argument, "--timeout", "0.01"])
        return main()

    (tmp_path / "a.png").write_bytes(b"no image")
    assert shell(f"image=@{tmp_path}/a.png") == "this is not a JPEG, PNG or GIF image"
    assert "No such file" in (shell("image=@/nowhere") or "")
    (tmp_path / "a.png").write_bytes(picture())
    with pytest.raises(TimeoutError, match="timed out"):  # nobody works here
        shell(f"image=@{tmp_path}/a.png")
    assert Upload.objects.get().name == "a.png"
