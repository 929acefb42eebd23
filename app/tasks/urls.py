"""The pages, the API, Django's admin and the probes."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from . import pages, views

urlpatterns = [
    path("", pages.index, name="index"),
    path("recent", pages.recent, name="recent"),
    path("ticks", pages.ticks, name="ticks"),
    path("examples/<str:name>", pages.example, name="example"),
    path("runs/<uuid:run_id>", pages.run, name="run"),
    path("runs/<uuid:run_id>/live", pages.live, name="run-live"),
    path("runs/<uuid:run_id>/revoke", pages.revoke, name="run-revoke"),
    path("runs/<uuid:run_id>/again", pages.again, name="run-again"),
    path("tasks/<uuid:task_id>", pages.task, name="detail"),
    path("login", LoginView.as_view(template_name="tasks/login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("api/openapi.json", views.api_description, name="api-description"),
    path("api/tasks", views.api_tasks, name="api-tasks"),
    path("api/tasks/<uuid:task_id>", views.api_task, name="api-task"),
    path("api/tasks/<uuid:task_id>/revoke", views.api_revoke, name="api-revoke"),
    path("api/examples", views.api_examples, name="api-examples"),
    path("api/examples/<str:name>", views.api_example, name="api-example"),
    path("api/runs/<uuid:run_id>", views.api_run, name="api-run"),
    path("api/runs/<uuid:run_id>/events", views.api_events, name="api-events"),
    path("api/runs/<uuid:run_id>/revoke", views.api_run_revoke, name="api-run-revoke"),
    path("api/runs/<uuid:run_id>/again", views.api_run_again, name="api-run-again"),
    path("api/files", views.api_files, name="api-files"),
    path("api/webhooks", views.api_webhooks, name="api-webhooks"),
    path("thumbnails/<uuid:upload_id>/<int:side>", pages.thumbnail, name="thumbnail"),
    path("api/orders", views.api_orders, name="api-orders"),
    path("api/orders/<uuid:order_id>", views.api_order, name="api-order"),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]

handler404 = "tasks.views.not_found"
handler500 = "tasks.views.server_error"
