from etl.app import app


@app.task(autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def fetch(page):
    return list(range(page * 10, page * 10 + 10))
