import click
from flask import Blueprint, jsonify, render_template, request, url_for

from shop import tasks
from shop.models import Order, db

pages = Blueprint('pages', __name__)


@pages.get('/')
def index():
    return render_template('index.html', orders=db.session.query(Order).all())


@pages.post('/orders')
def create():
    order = Order(product=request.get_json()['product'])
    db.session.add(order)
    db.session.commit()
    result = tasks.pay.delay(order.id)
    return jsonify(result=url_for('pages.result', id=result.id)), 202


@pages.get('/results/<id>')
def result(id):
    found = tasks.pay.AsyncResult(id)
    return jsonify(state=found.state, product=found.result if found.successful() else None)


@click.command('init-db')
def init_db():
    """Create the tables."""
    db.create_all()
