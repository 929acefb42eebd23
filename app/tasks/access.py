"""Who may use the pages and the API: everybody, or with `LOGIN_REQUIRED` those whom `createsuperuser` has made."""

import base64
import binascii
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse


class LoginMiddleware(LoginRequiredMiddleware):
    """Asks for a login where one is required: people on a page of its own, programs by HTTP's Basic authentication."""

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponseBase | None:
        """Let the request pass (None), or answer it."""
        if not settings.LOGIN_REQUIRED:
            return None
        if request.path.startswith("/api/") and not request.user.is_authenticated and (user := _basic(request)):
            request.user = user
        to_login = super().process_view(request, *view)
        if to_login is None:
            return None
        if request.path.startswith("/api/"):
            error = {"code": "login_required", "message": "send the name and the password of a user"}
            return JsonResponse({"error": error}, status=401, headers={"WWW-Authenticate": 'Basic realm="tasks"'})
        if request.headers.get("HX-Request"):  # a part of a page whose login has ended: load all of it
            return HttpResponse(status=401, headers={"HX-Refresh": "true"})
        return to_login


def _basic(request: HttpRequest) -> Any:
    """Return the user whose name and password the request has, or None."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return authenticate(request, username=name, password=password)
