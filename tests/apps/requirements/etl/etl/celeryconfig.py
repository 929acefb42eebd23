broker_url = 'amqp://guest:guest@localhost:5672//'
result_backend = 'redis://localhost/0'
imports = ['etl.extract', 'etl.transform']
task_routes = {'etl.extract.*': 'io', 'etl.transform.*': 'cpu'}
task_default_queue = 'cpu'
timezone = 'Europe/Berlin'
