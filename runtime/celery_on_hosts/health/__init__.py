"""The health of a host, layer by layer: ``celery-health``, or ``python -m celery_on_hosts.health``.

A process that is up may consume nothing, and a worker that consumes may not finish a task. So each layer is asked by
what it does: a program's process is alive and reports → its worker consumes → a canary task returns from each queue →
beat ticks → no queue grows old → the database listens → the web side answers → all programs run one release. Each
module here is a layer, ``inspector`` asks all of them, ``report`` is what they answer with.
"""
