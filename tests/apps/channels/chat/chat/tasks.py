from celery import shared_task


@shared_task
def shout(text):
    return text.upper()
