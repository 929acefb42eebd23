"""Place an order and tell its state. Knows nothing of HTTP."""

import logging
from typing import Any
from uuid import UUID, uuid4

from django.db import Error as DatabaseError
from django.db import transaction

from . import outbox, tasks
from .models import Order, Product
from .service import BadRequest, Unavailable, needs_database

log = logging.getLogger(__name__)

MAX_QUANTITY = 1000


class Conflict(Exception):
    """There is another order of this id."""


def _id(given: Any) -> UUID:
    try:
        return UUID(given) if given is not None else uuid4()
    except (ValueError, TypeError, AttributeError):
        raise BadRequest("bad_order", "id must be a UUID") from None


def place(product: Any, quantity: Any, order_id: Any = None) -> Order:
    """Accept an order, and have it confirmed. Placing it again under its id changes nothing.

    Args:
        product: what, up to 50 characters.
        quantity: how many, from 1 to 1000.
        order_id: a UUID of the caller's choice, who may then try again without ordering twice; None makes one.

    Raises:
        BadRequest: one of them is wrong.
        Conflict: the id is that of another order.
        Unavailable: the database does not answer, or has not said that it committed. It may have.
    """
    if not isinstance(product, str) or not product.isprintable() or not 1 <= len(product) <= 50:
        raise BadRequest("bad_order", "product must be a string of 1 to 50 printable characters")
    if type(quantity) is not int or not 1 <= quantity <= MAX_QUANTITY:
        raise BadRequest("bad_order", f"quantity must be a whole number from 1 to {MAX_QUANTITY}")
    key = _id(order_id)
    try:
        with transaction.atomic():
            Product.objects.get_or_create(name=product)
            wanted = {"product_id": product, "quantity": quantity}
            order, new = Order.objects.get_or_create(pk=key, defaults=wanted)
            if new:
                outbox.send(tasks.confirm, str(key), task_id=key)
    except DatabaseError as error:
        log.warning("order %s may not be placed: %r", key, error)
        message = "the database has not confirmed the order; place it again under this id, it will be placed once"
        raise Unavailable("database", message, key) from error
    if (order.product_id, order.quantity) != (product, quantity):
        raise Conflict(f"{key} is the id of another order")
    return order


def describe(order_id: UUID) -> dict[str, Any] | None:
    """Return what is known of an order, or None if there is none.

    Raises:
        Unavailable: the database does not answer.
    """
    with needs_database():
        order = Order.objects.select_related("receipt").filter(pk=order_id).first()
    if order is None:
        return None
    receipt = getattr(order, "receipt", None)
    return {
        "id": str(order.pk),
        "product": order.product_id,
        "quantity": order.quantity,
        "placed": order.placed.isoformat(),
        "state": "confirmed" if receipt else "placed",
        "confirmed": receipt.at.isoformat() if receipt else None,
    }
