"""Filters of the pages."""

import re

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.filter
def prose(text: str) -> SafeString:
    """Return a text as HTML in which what stands in backticks is code."""
    return mark_safe(re.sub(r"`([^`]+)`", r"<code>\1</code>", conditional_escape(text)))  # noqa: S308 - it is escaped


@register.filter
def plain(text: str) -> str:
    """Return a text without its backticks, for where there is no markup."""
    return text.replace("`", "")
