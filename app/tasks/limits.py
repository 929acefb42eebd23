"""How large a request may be. Django bounds what it keeps in memory, but not a file in a form."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

from .files import MAX_BYTES

MAX_BODY = max(MAX_BYTES.values()) + 64 * 1024  # bytes: a file, and the fields of its form


def body_size(request: HttpRequest) -> int:
    """Return how many bytes the body has; 0 unless it says so, for then Django reads none."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuse a body that is too large before any of it is read.

    Args:
        get_response: the next middleware, or the view.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        if body_size(request) <= MAX_BODY:
            return get_response(request)
        message = f"the body is larger than {MAX_BODY // 1024} KiB"
        if request.path.startswith("/api/"):
            return JsonResponse({"error": {"code": "too_large", "message": message}}, status=413)
        return HttpResponse(f"Not accepted: {message}.", status=413, content_type="text/plain")

    return respond
