"""The web side: load its application, tell WSGI from ASGI, and serve it by gunicorn or uvicorn.

``application`` loads what ``celery_web_app`` names; ``worker`` is the class of gunicorn's processes; ``command`` runs
``celery_web_command``; ``exceptions`` logs why a page of Django failed.
"""
