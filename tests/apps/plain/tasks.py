import time

from celery import Celery

app = Celery('tasks', broker='pyamqp://guest@localhost//')
app.conf.task_time_limit = 60


@app.task
def add(x, y):
    return x + y


@app.task
def rest(seconds):
    time.sleep(seconds)


@app.task(time_limit=3)
def nap(seconds):
    time.sleep(seconds)
