from celery import Celery

app = Celery('media', include=['media.tasks'])
app.config_from_object('media.settings')
