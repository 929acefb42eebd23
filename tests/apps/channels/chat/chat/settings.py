import os

SECRET_KEY = os.environ.get('SECRET_KEY', 'insecure')
ALLOWED_HOSTS = ['chat.example.org']
INSTALLED_APPS = ['daphne', 'channels', 'django.contrib.contenttypes', 'django.contrib.auth', 'chat']
MIDDLEWARE = ['django.middleware.common.CommonMiddleware']
ROOT_URLCONF = 'chat.urls'
ASGI_APPLICATION = 'chat.asgi.application'
USE_TZ = True

CELERY_BROKER_URL = 'redis://localhost'
CELERY_RESULT_BACKEND = 'redis://localhost'
