from celery.beat import Scheduler as CeleryScheduler
from celery.schedules import schedule


class Scheduler(CeleryScheduler):
    """A schedule that comes from elsewhere than beat_schedule."""

    def setup_schedule(self):
        self.install_default_entries({})
        self.update_from_dict({'sweep': {'task': 'media.tasks.sweep', 'schedule': schedule(10)}})
