"""The pages for people: the examples, a run as it goes, and a task of the API."""

import functools
import json
import uuid
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.core.cache import cache
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from . import files, registry, runs, service
from .celery import app
from .examples import CHAPTERS
from .models import Run, Thumbnail, Tick
from .views import release

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


@functools.cache
def coloured(code: str) -> SafeString:
    """Return Python code as HTML, its parts in classes of the style sheet."""
    html: str = highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))
    return mark_safe(html)  # noqa: S308 - it is escaped


def _page(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    user = request.user if settings.LOGIN_REQUIRED else None  # only then it is worth a look at the database
    return render(request, template, {"release": release(), "person": user, **context}, status=status)


def _fragment(request: HttpRequest, template: str, context: dict[str, Any], digest: str) -> HttpResponse:
    """Answer with a part of a page, or that it is as it was seen: then nothing is rendered."""
    if request.GET.get("seen") == digest:
        return HttpResponse(status=204)
    return render(request, template, context)


def _away(request: HttpRequest, why: Exception, status: int = 503) -> HttpResponse:
    return _page(request, "tasks/away.html", {"error": f"{capfirst(str(why))}."}, status)


def _or_away(view: View[P]) -> View[P]:
    """Have a page say what does not answer, or that it is not there. A part of a page stays, and is asked for again."""

    @functools.wraps(view)
    def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except registry.UnknownExample as unknown:
            raise Http404(str(unknown)) from None
        except service.Unavailable as away:
            return HttpResponse(status=204) if "seen" in request.GET else _away(request, away)

    return answer


def _chapters() -> list[tuple[str, str, list[registry.Example]]]:
    """Return key, title and examples of each chapter that has any."""
    known = registry.load().values()
    chapters = [(key, title, [one for one in known if one.chapter == key]) for key, title in CHAPTERS.items()]
    return [chapter for chapter in chapters if chapter[2]]


@never_cache
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the examples and what was run lately."""
    context: dict[str, Any] = {"chapters": _chapters()}
    try:
        context |= {"recent": runs.recent(), "tick": Tick.objects.filter(name="beat").first()}
    except DatabaseError:
        context["notice"] = "The database does not answer: no list of recent runs."
    return _page(request, "tasks/index.html", context)


@never_cache
@require_safe
def recent(request: HttpRequest) -> HttpResponse:
    """Show what was run lately, as a part of a page."""
    try:
        found: Any = cache.get_or_set("recent", runs.recent, 1)  # a look each second, for all who have the page open
    except DatabaseError:
        return HttpResponse(status=204)
    return _fragment(request, "tasks/_recent.html", {"recent": found}, found.digest)


@never_cache
@require_safe
def ticks(request: HttpRequest) -> HttpResponse:
    """Show when beat's entries have fired, as a part of a page."""
    try:
        found = list(Tick.objects.order_by("name"))
    except DatabaseError:
        return HttpResponse(status=204)
    seen = f"{len(found)}-{max((tick.at.timestamp() for tick in found), default=0)}"
    return _fragment(request, "tasks/_ticks.html", {"ticks": found, "digest": seen}, seen)


def _fields(example: registry.Example, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the form asks for: each argument with its value as a person types it."""
    return [
        {
            "name": name,
            "value": _typed(values.get(name, schema.get("default", ""))),
            "choices": schema.get("enum"),
            "kind": schema.get("type", "string"),
            "accept": schema.get("contentMediaType"),
            "about": schema.get("description", ""),
        }
        for name, schema in example.schema.get("properties", {}).items()
    ]


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_typed, value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _example_page(
    request: HttpRequest, example: registry.Example, values: dict[str, Any], status: int = 200, **context: Any
) -> HttpResponse:
    names = list(registry.load())
    place = names.index(example.name)
    context |= {
        "example": example,
        "chapter": CHAPTERS[example.chapter],
        "source": coloured(example.source),
        "sources": [(name, coloured(code), name in app.tasks) for name, code in example.tasks.items()],
        "fields": _fields(example, values),
        "body": json.dumps({"arguments": {key: values[key] for key in values if key != "csrfmiddlewaretoken"}}),
        "before": registry.find(names[place - 1]) if place else None,
        "after": registry.find(names[place + 1]) if place + 1 < len(names) else None,
    }
    return _page(request, "tasks/example.html", context, status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@_or_away
def example(request: HttpRequest, name: str) -> HttpResponse:
    """Show an example with its code and a form; POST runs it."""
    found = registry.find(name)
    if request.method != "POST":
        return _example_page(request, found, {})
    texts = {name: str(text) for name, text in request.POST.items() if name != "csrfmiddlewaretoken"}
    try:
        for argument, kind in found.uploads.items():
            if file := request.FILES.get(argument):
                files.check_size(kind, file.size or 0)
                texts[argument] = str(files.store(kind, file.name or "", file.read()).pk)
        return redirect("run", service.run_example(name, found.read(texts)))
    except (registry.BadArguments, files.BadFile) as bad:
        return _example_page(request, found, dict(texts), 422, error=f"{bad}.")
    except files.StorageFull as full:
        return _example_page(request, found, dict(texts), 507, error=f"{full}.")
    except DatabaseError:
        return _example_page(request, found, dict(texts), 503, error="Not run: the database does not answer.")
    except service.Unavailable as away:
        return _example_page(request, found, dict(texts), 503, error=f"Not run: {away}.")


def _find(run_id: uuid.UUID) -> Run:
    if (found := service.find_run(run_id)) is None:
        raise Http404("there is no such run")
    return found


@never_cache
@require_safe
@_or_away
def run(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Show a run beside its example; the page asks for what changes."""
    view = runs.view(_find(run_id))
    return _example_page(request, registry.find(view.run.example), view.run.arguments, view=view)


@never_cache
@require_safe
@_or_away
def live(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Show a run as a part of its page, or answer 204 if it is as it was seen."""
    view = runs.view(_find(run_id))
    return _fragment(request, "tasks/_run.html", {"view": view}, view.digest)


@require_POST
@_or_away
def revoke(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Revoke what has not ended of a run."""
    runs.revoke(_find(run_id), terminate=True)
    return redirect("run", run_id)


@require_POST
@_or_away
def again(request: HttpRequest, run_id: uuid.UUID) -> HttpResponse:
    """Run the example again, with the same arguments."""
    try:
        return redirect("run", service.run_again(_find(run_id)))
    except registry.BadArguments as bad:
        return _away(request, bad, 422)


@never_cache
@require_safe
@_or_away
def task(request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
    """Show one task, such as the API has sent; the page asks for what changes."""
    found = service.describe(task_id, service.record_of(task_id))
    digest = f"{found['state']}-{found['retries']}-{found['progress'] and found['progress']['current']}"
    context = {"task": found, "digest": digest, "url": reverse("detail", args=[task_id])}
    if "seen" in request.GET:
        return _fragment(request, "tasks/_task.html", context, digest)
    return _page(request, "tasks/task.html", context)


@require_safe
@_or_away
def thumbnail(request: HttpRequest, upload_id: uuid.UUID, side: int) -> HttpResponse:
    """Return a picture that a worker made. What people sent is never returned, as nobody knows what it is."""
    with service.needs_database():
        found = Thumbnail.objects.filter(upload=upload_id, side=side).first()
    if found is None:
        raise Http404
    headers = {"Cache-Control": "private, max-age=3600", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return HttpResponse(bytes(found.content), content_type="image/webp", headers=headers)
