import orjson
from celery import chord, group

from etl.app import app
from etl.extract import fetch


@app.task
def merge(pages):
    return orjson.dumps([row for page in pages for row in page]).decode()


def run(pages):
    return chord(group(fetch.s(page) for page in range(pages)), merge.s()).delay()
