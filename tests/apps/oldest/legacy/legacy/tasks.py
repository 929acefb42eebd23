from celery import Celery, chain

app = Celery('legacy', include=['legacy.tasks'])
app.conf.update(
    broker_url='amqp://localhost',
    result_backend='redis://localhost/1',
    task_time_limit=120,
    beat_schedule={'tick': {'task': 'legacy.tasks.tick', 'schedule': 10}},
)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, max_retries=3, default_retry_delay=1)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries


@app.task
def tick():
    return 'tock'


def sums():
    return chain(add.s(1, 2), add.s(4), add.s(8)).delay()
