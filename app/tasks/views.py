"""The JSON API for programs, and the probes for machines."""

import functools
import json
import logging
import os
import uuid
from collections.abc import Callable
from typing import Any, Concatenate, NoReturn, ParamSpec

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe
from django.views.defaults import page_not_found
from django.views.defaults import server_error as plain_server_error

from . import files, limits, orders, registry, runs, service, webhooks
from .models import Run, Submission

log = logging.getLogger(__name__)

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def release() -> str:
    """Return the release that this process runs, if it was told."""
    return os.environ.get("CELERY_RELEASE", "")


# --- the API ------------------------------------------------------------------------------------------------------


def _error(status: int, code: str, message: str, **extra: Any) -> JsonResponse:
    headers = {"Retry-After": "5"} if status == 503 else None
    return JsonResponse({"error": {"code": code, "message": message, **extra}}, status=status, headers=headers)


def _away(away: service.Unavailable) -> JsonResponse:
    extra = {"id": str(away.task_id), "url": reverse("api-task", args=[away.task_id])} if away.task_id else {}
    return _error(503, f"{away.part}_unavailable", str(away), **extra)


class _Refused(Exception):
    """What was posted cannot be read."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def _api(*methods: str) -> Callable[[View[P]], View[P]]:
    """Make a view one of the API: what it is asked by, and its errors in JSON."""

    def decorate(view: View[P]) -> View[P]:
        # A page of another site cannot send the content types that are taken: browsers ask first, and nobody allows it.
        @csrf_exempt
        @never_cache
        @require_http_methods(methods)
        @functools.wraps(view)
        def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                return view(request, *args, **kwargs)
            except _Refused as refused:
                return _error(refused.status, refused.code, str(refused))
            except registry.UnknownExample as unknown:
                return _error(404, "not_found", str(unknown))
            except registry.BadArguments as bad:
                return _error(422, "bad_arguments", str(bad))
            except service.BadRequest as bad:
                return _error(422, bad.code, str(bad))
            except service.Unavailable as away:
                return _away(away)

        return answer

    return decorate


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _loads(text: str | bytes) -> Any:
    """Return the value of the JSON `text`; raise ValueError for whatever is not JSON, or nested beyond reason."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _body(request: HttpRequest, example: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """Return the object that was posted.

    Raises:
        _Refused: it is none, or has other keys than the `known`.
    """
    if request.content_type != "application/json":
        raise _Refused(415, "not_json", "send JSON, with the header Content-Type: application/json")
    try:
        body = _loads(request.body)
    except RequestDataTooBig:
        raise _Refused(413, "too_large", "the body is larger than 64 KiB") from None
    except ValueError as error:
        raise _Refused(400, "not_json", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _Refused(422, "bad_body", f"the body must be an object such as {json.dumps(example)}")
    if unknown := body.keys() - set(known):
        raise _Refused(422, "bad_body", f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known) or 'none'}")
    return body


@_api("GET", "HEAD")
def api_description(request: HttpRequest) -> JsonResponse:
    """Return the API's description in OpenAPI."""
    from . import openapi  # it needs what is known here

    return JsonResponse(openapi.document())


@_api("GET", "HEAD", "POST")
def api_tasks(request: HttpRequest) -> JsonResponse:
    """GET the recent tasks with their states; POST `{"task", "args", "kwargs"}` submits one: 202, with its id."""
    if request.method != "POST":
        return JsonResponse({"tasks": [_document(record.pk, record) for record in service.recent()]})
    body = _body(request, {"task": "add", "args": [2, 3]}, ("task", "args", "kwargs"))
    task_id = service.submit(body.get("task"), body.get("args", []), body.get("kwargs", {}))
    return _accepted("api-task", task_id, state="PENDING")


def _accepted(view: str, key: uuid.UUID, **extra: Any) -> JsonResponse:
    """Say that it is taken, and at which address its state is."""
    url = reverse(view, args=[key])
    return JsonResponse({"id": str(key), "url": url, **extra}, status=202, headers={"Location": url})


def _document(task_id: uuid.UUID, record: Submission | None) -> dict[str, Any]:
    return {**service.describe(task_id, record), "url": reverse("api-task", args=[task_id])}


@_api("GET", "HEAD")
def api_task(request: HttpRequest, task_id: uuid.UUID) -> JsonResponse:
    """Return what is known of one task."""
    return JsonResponse(_document(task_id, service.record_of(task_id)))


def _terminate(request: HttpRequest) -> bool:
    terminate = _body(request, {"terminate": True}, ("terminate",)).get("terminate", False)
    if not isinstance(terminate, bool):
        raise _Refused(422, "bad_body", "terminate must be true or false")
    return terminate


@_api("POST")
def api_revoke(request: HttpRequest, task_id: uuid.UUID) -> JsonResponse:
    """POST `{"terminate"}` revokes a task: 202 once the broker has the order for the workers."""
    service.revoke([str(task_id)], terminate=_terminate(request))
    return _accepted("api-task", task_id)


def _example(one: registry.Example) -> dict[str, Any]:
    return {
        "name": one.name,
        "title": one.title,
        "about": one.about,
        "chapter": one.chapter,
        "arguments": one.schema,
        "source": one.source,
        "tasks": one.tasks,
        "url": reverse("api-example", args=[one.name]),
    }


@_api("GET", "HEAD")
def api_examples(request: HttpRequest) -> JsonResponse:
    """Return all examples: what each takes, as a JSON schema, and its code."""
    return JsonResponse({"examples": [_example(one) for one in registry.load().values()]})


@_api("GET", "HEAD", "POST")
def api_example(request: HttpRequest, name: str) -> JsonResponse:
    """GET one example; POST `{"arguments"}` runs it: 202, with the run's id."""
    one = registry.find(name)
    if request.method != "POST":
        return JsonResponse(_example(one))
    body = _body(request, {"arguments": {}}, ("arguments",))
    return _accepted("api-run", service.run_example(name, one.check(body.get("arguments", {}))))


def _run(run_id: uuid.UUID) -> Run:
    if (found := service.find_run(run_id)) is None:
        raise _Refused(404, "not_found", "there is no such run")
    return found


@_api("GET", "HEAD")
def api_run(request: HttpRequest, run_id: uuid.UUID) -> JsonResponse:
    """Return what is known of a run and its tasks."""
    return JsonResponse(service.describe_run(_run(run_id)))


@_api("GET", "HEAD")
def api_events(request: HttpRequest, run_id: uuid.UUID) -> JsonResponse:
    """Return what happened to the tasks of a run, in the order of time."""
    return JsonResponse({"events": service.events_of(_run(run_id))})


@_api("POST")
def api_run_revoke(request: HttpRequest, run_id: uuid.UUID) -> JsonResponse:
    """POST `{"terminate"}` revokes what has not ended of a run: 202 once the broker has the order for the workers."""
    terminate = _terminate(request)
    runs.revoke(_run(run_id), terminate=terminate)
    return _accepted("api-run", run_id)


@_api("POST")
def api_run_again(request: HttpRequest, run_id: uuid.UUID) -> JsonResponse:
    """POST `{}` runs the example again, with the same arguments: 202, with the new run's id."""
    _body(request, {}, ())
    return _accepted("api-run", service.run_again(_run(run_id)))


# What a page of another site may not send without asking first either: a form's content types are not among them.
MEDIA_TYPES = {"image/jpeg": "image", "image/png": "image", "image/gif": "image", "text/csv": "csv"}


@_api("POST")
def api_files(request: HttpRequest) -> JsonResponse:
    """POST a file as the body, with its content type, and `?name=`: 201, with the id to give to an example."""
    kind = MEDIA_TYPES.get(request.content_type or "")
    if kind is None:
        return _error(415, "bad_type", f"send a file with one of these content types: {', '.join(MEDIA_TYPES)}")
    try:
        files.check_size(kind, limits.body_size(request))  # before any of it is read
        upload = files.store(kind, request.GET.get("name", ""), request.read())
    except files.BadFile as bad:
        return _error(422, "bad_file", str(bad))
    except files.StorageFull as full:
        return _error(507, "storage_full", str(full))
    except DatabaseError as error:
        log.warning("a file is not kept: %r", error)
        return _error(503, "database_unavailable", "the database does not answer; try again")
    described = {"id": str(upload.pk), "kind": kind, "name": upload.name, "size": upload.size}
    return JsonResponse(described, status=201)


@login_not_required
@csrf_exempt  # whoever sends this has neither a login nor a cookie, but the secret
@never_cache
@require_http_methods(["POST"])
def api_webhooks(request: HttpRequest) -> HttpResponse:
    """Receive a webhook of this app, as a receiver elsewhere would: 204, or 401 if it is not genuine."""
    try:
        genuine = webhooks.is_genuine(request.headers, request.body)
    except RequestDataTooBig:
        return _error(413, "too_large", "the body is larger than 64 KiB")
    if not genuine:
        return _error(401, "bad_signature", "the signature is wrong, or the message is older than five minutes")
    log.info("received the webhook %s: %s", request.headers["webhook-id"], request.body.decode())
    return HttpResponse(status=204)


@_api("POST")
def api_orders(request: HttpRequest) -> JsonResponse:
    """POST `{"product", "quantity", "id"}` places an order: 202 once the database has it, and it will be confirmed."""
    body = _body(request, {"product": "tea", "quantity": 2}, ("product", "quantity", "id"))
    try:
        order = orders.place(body.get("product"), body.get("quantity"), body.get("id"))
    except orders.Conflict as taken:
        return _error(409, "id_taken", str(taken))
    except service.Unavailable as away:
        return _error(503, f"{away.part}_unavailable", str(away), id=str(away.task_id))
    return _accepted("api-order", order.pk)


@_api("GET", "HEAD")
def api_order(request: HttpRequest, order_id: uuid.UUID) -> JsonResponse:
    """Return what is known of one order."""
    order = orders.describe(order_id)
    return JsonResponse(order) if order else _error(404, "not_found", "there is no such order")


# --- probes and errors --------------------------------------------------------------------------------------------


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Say that this process answers, and which release it runs. Touches nothing else."""
    return JsonResponse({"status": "ok", "release": release()})


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether the broker, the results and the database answer: 200, or 503 and which one does not."""
    checks = service.readiness()
    ready = all(found == "ok" for found in checks.values())
    body = {"status": "ok" if ready else "unavailable", "checks": checks, "release": release()}
    return JsonResponse(body, status=200 if ready else 503)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer a program in JSON and a person in HTML."""
    if request.path.startswith("/api/"):
        return _error(404, "not_found", "there is no such address; a task's is /api/tasks/<uuid>")
    return page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer a program in JSON and a person in HTML."""
    if request.path.startswith("/api/"):
        return _error(500, "internal_error", "the app has failed; its log says why")
    return plain_server_error(request)
