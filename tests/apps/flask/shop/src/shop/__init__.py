import os

from celery import Celery, Task
from flask import Flask

from shop import views
from shop.models import db


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY=os.environ.get('SECRET_KEY', 'dev'),
        SQLALCHEMY_DATABASE_URI=os.environ.get('DATABASE_URL', 'sqlite:///shop.db'),
        CELERY={
            'broker_url': 'redis://localhost',
            'result_backend': 'redis://localhost',
            'beat_schedule': {
                'count orders': {'task': 'shop.tasks.count_orders', 'schedule': 10.0},
            },
        },
    )
    app.config.from_mapping(config or {})
    db.init_app(app)
    init_celery(app)
    app.register_blueprint(views.pages)
    app.cli.add_command(views.init_db)
    return app


def init_celery(app):
    class FlaskTask(Task):
        def __call__(self, *args, **kwargs):
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask, include=['shop.tasks'])
    celery_app.config_from_object(app.config['CELERY'])
    celery_app.set_default()
    app.extensions['celery'] = celery_app
    return celery_app
