from celery import Celery

app = Celery('etl')
app.config_from_object('etl.celeryconfig')
