"""The examples of Celery's features, a module a chapter. `python -m tasks.examples` lists and runs them."""

CHAPTERS = {
    "calling": "Calling tasks",
    "states": "States and results",
    "options": "Task options",
    "canvas": "Canvas",
    "routing": "Routing",
    "schedules": "Periodic tasks",
    "stores": "Result stores",
    "safety": "Safety",
    "logging_": "Logging",
    "work": "Real work",
}
