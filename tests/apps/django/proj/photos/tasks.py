import hashlib

from celery import shared_task

from photos.models import Photo


@shared_task
def digest(photo_id):
    photo = Photo.objects.get(pk=photo_id)
    with photo.file.open() as file:
        photo.digest = hashlib.file_digest(file, 'sha256').hexdigest()
    photo.save()
    return photo.digest


@shared_task
def count():
    return Photo.objects.count()
