"""Files that people send: checked before they are kept, and kept for a day."""

import csv
import io
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db.models import Sum

from .models import Upload

if TYPE_CHECKING:
    from PIL.Image import Image  # few processes have to do with images: who has imports it

MAX_BYTES = {"image": 8 * 2**20, "csv": 2 * 2**20}
MAX_KEPT = 512 * 2**20  # bytes of all files together; the nightly clean-up makes room
MAX_PIXELS = 25_000_000  # 100 MB in memory, however small the file
MAX_ROWS = 50_000
MAX_COLUMNS = 100
MAX_CELL = 1000  # characters
ACCEPT = {"image": "image/jpeg,image/png,image/gif", "csv": "text/csv,.csv"}  # for a form

# Of these, Pillow knows the size before it has decoded anything. It would try dozens of formats.
FORMATS = ("JPEG", "PNG", "GIF")

SAMPLE = "sample"


class BadFile(ValueError):
    """A file that is not taken; the message says why to the one who sent it."""


class StorageFull(Exception):
    """There are too many files already."""


# --- images -------------------------------------------------------------------------------------------------------


def open_image(content: bytes) -> "Image":
    """Return an image of which nothing but its head is decoded.

    Raises:
        BadFile: it is none, or larger than 25 megapixels.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception:  # noqa: BLE001 - a file that was made to do harm can raise anything
        raise BadFile("this is not a JPEG, PNG or GIF image") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadFile(f"the image must have at most {MAX_PIXELS:,} pixels, not {image.width} by {image.height}")
    return image


def thumbnail(content: bytes, side: int) -> bytes:
    """Return an image as a WebP of at most `side` pixels each way, without what a camera wrote besides.

    Raises:
        BadFile: it cannot be decoded.
    """
    from PIL import ImageOps

    image, small = open_image(content), io.BytesIO()
    try:
        image.draft("RGB", (2 * side, 2 * side))  # a JPEG can be decoded at an eighth of its size
        upright = ImageOps.exif_transpose(image)
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
        upright.thumbnail((side, side))
        upright.save(small, "WEBP")
    except Exception:  # noqa: BLE001 - as above
        raise BadFile("the image cannot be decoded") from None
    return small.getvalue()


# --- tables -------------------------------------------------------------------------------------------------------


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile("the table must be text in UTF-8") from None


def rows(content: bytes) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, its head first. What separates the columns is what the head has most of.

    Raises:
        BadFile: it is none, or its rows are not of one length.
    """
    text = _text(content)
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    width = 0
    try:
        for row in reader:
            width = width or len(row)
            if len(row) not in (0, width):
                raise BadFile(f"line {reader.line_num} must have {width} columns, not {len(row)}")
            if any(len(cell) > MAX_CELL for cell in row):
                raise BadFile(f"line {reader.line_num} has a cell of more than {MAX_CELL} characters")
            if row:  # of an empty line there is none
                yield row
    except csv.Error as error:
        raise BadFile(f"line {reader.line_num} is not CSV: {error}") from None


def _check_table(content: bytes) -> None:
    table = rows(content)
    head = next(table, [])
    if not all(name.isprintable() and 1 <= len(name) <= 100 for name in head) or not 1 <= len(head) <= MAX_COLUMNS:
        raise BadFile(f"the first line must name 1 to {MAX_COLUMNS} columns")
    if len(set(head)) < len(head):
        raise BadFile("two columns have one name")
    count = sum(1 for _ in table)
    if not 1 <= count <= MAX_ROWS:
        raise BadFile(f"the table must have 1 to {MAX_ROWS:,} rows, not {count:,}")


# --- all of them --------------------------------------------------------------------------------------------------

CHECKS = {"image": open_image, "csv": _check_table}


def check_size(kind: str, size: int) -> None:
    """Raise BadFile if a file of this kind may not be as large, in bytes."""
    if not 0 < size <= MAX_BYTES[kind]:
        raise BadFile(f"the file must have 1 to {MAX_BYTES[kind]:,} bytes")


def store(kind: str, name: str, content: bytes) -> Upload:
    """Keep a file.

    Args:
        kind: `image` or `csv`.
        name: what its sender calls it; only shown.
        content: all of it.

    Raises:
        BadFile: it is too large, or not what it is said to be.
        StorageFull: there is no room for it today.
        django.db.Error: the database does not answer.
    """
    check_size(kind, len(content))
    CHECKS[kind](content)
    kept = Upload.objects.aggregate(bytes=Sum("size"))["bytes"] or 0
    if kept + len(content) > MAX_KEPT:
        raise StorageFull("there is no room for files today; each is kept for a day")
    name = re.sub(r"[^\w .()+-]", "_", name.replace("\\", "/").rpartition("/")[2])[-100:] or kind
    return Upload.objects.create(kind=kind, name=name, size=len(content), content=content)


def find(kind: str, key: str) -> Upload:
    """Return the file of an id, or of this kind the one that comes with the app, if the id is `sample`.

    Raises:
        BadFile: there is none.
        django.db.Error: the database does not answer.
    """
    sample = key == SAMPLE
    # The content is read when it is asked for.
    upload = Upload.objects.defer("content").filter(pk=SAMPLE_IDS[kind] if sample else key, kind=kind).first()
    if sample and upload is None:
        content = SAMPLES[kind]()
        values = {"kind": kind, "name": f"sample.{kind}", "size": len(content), "content": content}
        upload, _ = Upload.objects.get_or_create(pk=SAMPLE_IDS[kind], defaults=values)
    if upload is None:
        raise BadFile("there is no such file; one is kept for a day")
    return upload


def _sample_image() -> bytes:
    from PIL import Image, ImageOps

    content = io.BytesIO()
    mandelbrot = Image.effect_mandelbrot((1200, 800), (-2.2, -1.2, 0.9, 1.2), 30)
    ImageOps.colorize(mandelbrot, "#0a4d3c", "#fff6d5").save(content, "PNG")
    return content.getvalue()


def _sample_table() -> bytes:
    lines = (f"{('tea', 'coffee', 'cocoa')[n % 3]},{n % 7 + 1},{n % 11 + 0.5}" for n in range(3000))
    return "\n".join(["product,quantity,price", *lines]).encode()


SAMPLE_IDS = {kind: uuid.uuid5(uuid.NAMESPACE_URL, f"sample.{kind}") for kind in CHECKS}
SAMPLES = {"image": _sample_image, "csv": _sample_table}
