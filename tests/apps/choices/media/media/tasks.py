from dataclasses import dataclass

from celery.utils.log import get_task_logger

from media.app import app

log = get_task_logger(__name__)


@dataclass
class Size:
    width: int
    height: int


@app.task
def scale(size, factor):
    return Size(int(size.width * factor), int(size.height * factor))


@app.task
def encode(name):
    return name + '.webm'


@app.task
def sweep():
    return {'removed': 0}


@app.task(ignore_result=True)
def forget_cache():
    log.info('cache forgotten')
