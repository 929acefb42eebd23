"""Check an application against the platform that it is to run on: ``python -m celery_on_hosts.check --app tasks``.

The deployment runs the check with a release's Python and the host's environment, before ``current`` moves. Each module
here checks one subject; ``declare`` makes the application's queues at the broker.
"""
