"""What every release carries beside the application: safe defaults, liveness, health and the release report.

Celery finds it by ``CELERY_LOADER=celery_on_hosts.loader:Loader``; the application need not know of it.
"""
