"""What every release carries beside the application: safe defaults, heartbeats, health and the check of a release.

Celery finds the package by ``CELERY_LOADER=celery_on_hosts.loader:Loader``; the application need not know of it.
The commands are packages with a ``command`` each: ``health``, ``check`` and ``dead``.
"""
