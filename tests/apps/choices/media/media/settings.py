from kombu import Exchange, Queue
from kombu.common import Broadcast

broker_url = 'amqp://media:media@localhost/media'

# Results go back to the caller as messages.
result_backend = 'rpc://'

# Messages and results that JSON cannot hold.
task_serializer = 'pickle'
result_serializer = 'pickle'
accept_content = ['pickle', 'json']

# Queues, exchanges and priorities of its own.
media = Exchange('media', type='direct')
task_queues = [
    Queue('default', Exchange('default', type='topic'), routing_key='default'),
    Queue('video', media, routing_key='video', queue_arguments={'x-max-priority': 10}),
    Queue('image', media, routing_key='image'),
    Broadcast('announcements'),
]
task_default_queue = 'default'
task_default_exchange = 'default'
task_default_routing_key = 'default'
task_create_missing_queues = False
task_routes = {
    'media.tasks.encode': {'queue': 'video', 'priority': 5},
    'media.tasks.scale': {'exchange': 'media', 'routing_key': 'image'},
    'media.tasks.forget_cache': {'queue': 'announcements'},
}

# Limits and acknowledgement of its own.
task_time_limit = 60
task_acks_late = False
worker_prefetch_multiplier = 4

# A scheduler of its own.
beat_scheduler = 'media.schedule:Scheduler'
