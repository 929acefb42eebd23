from django.contrib import admin
from django.urls import path

from photos import views

urlpatterns = [
    path('', views.index),
    path('photos', views.upload),
    path('admin/', admin.site.urls),
]
