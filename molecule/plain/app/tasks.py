"""The first app of Celery's own tutorial, to the letter."""

from celery import Celery

app = Celery("tasks", broker="pyamqp://guest@localhost//")


@app.task
def add(x, y):
    return x + y
