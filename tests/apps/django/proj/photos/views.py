from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from photos import tasks
from photos.models import Photo


def index(request):
    return render(request, 'photos/index.html', {'photos': Photo.objects.all()})


@csrf_exempt
@require_POST
def upload(request):
    with transaction.atomic():
        photo = Photo.objects.create(file=request.FILES['file'])
        transaction.on_commit(lambda: tasks.digest.delay(photo.pk))
    return JsonResponse({'id': photo.pk, 'url': photo.file.url}, status=202)
