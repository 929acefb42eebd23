from celery.result import AsyncResult
from fastapi import FastAPI

from reports.worker import build, celery

app = FastAPI()


@app.post('/reports/{pages}', status_code=202)
def create(pages: int):
    return {'id': build.delay(pages).id}


@app.get('/reports/{id}')
def read(id: str):
    result = AsyncResult(id, app=celery)
    return {'state': result.state, 'report': result.result if result.successful() else None}
