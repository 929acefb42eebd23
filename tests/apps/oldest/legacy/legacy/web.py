from flask import Flask, jsonify

from legacy.tasks import add

app = Flask(__name__)


@app.route('/')
def index():
    return 'legacy'


@app.route('/add/<int:x>/<int:y>')
def sum_of(x, y):
    return jsonify(sum=add.delay(x, y).get(timeout=10))
