import os

from celery import Celery

celery = Celery(
    'reports',
    broker=os.environ.get('CELERY_BROKER_URL', 'redis://localhost:6379/0'),
    backend=os.environ.get('CELERY_RESULT_BACKEND', 'redis://localhost:6379/1'),
)
celery.conf.beat_schedule = {'tidy': {'task': 'reports.tidy', 'schedule': 10.0}}


@celery.task(name='reports.build')
def build(pages):
    return {'pages': pages, 'words': pages * 300}


@celery.task(name='reports.tidy', ignore_result=True)
def tidy():
    pass
