"""The app's own settings for a worker of its own process, with a broker and a database that are files in a folder."""

import os
from pathlib import Path

FOLDER = Path(os.environ["TEST_FOLDER"])
os.environ |= {
    "CELERY_BROKER_URL": "filesystem://",
    "CELERY_RESULT_BACKEND": f"file://{FOLDER}/results",
    "DATABASE_URL": f"sqlite:///{FOLDER}/db.sqlite3",
}

from tasks.settings import *  # noqa: E402, F403

for name in ("queue", "control", "results"):
    (FOLDER / name).mkdir(exist_ok=True)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": f"{FOLDER}/queue",
    "data_folder_out": f"{FOLDER}/queue",
    "control_folder": f"{FOLDER}/control",
    "polling_interval": 0.02,  # seconds
}
