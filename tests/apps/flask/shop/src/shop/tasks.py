from celery import shared_task

from shop.models import Order, db


@shared_task
def pay(order_id):
    order = db.session.get(Order, order_id)
    order.paid = True
    db.session.commit()
    return order.product


@shared_task(ignore_result=True)
def count_orders():
    print(db.session.query(Order).count(), 'orders')
