"""A web side with one page and one name; it knows nothing of any platform."""

NAME = 'plain.example.org'


def application(environ, start_response):
    if environ.get('HTTP_HOST') != NAME:
        status = '400 Bad Request'
    elif environ['PATH_INFO'] != '/':
        status = '404 Not Found'
    else:
        status = '200 OK'
    start_response(status, [('Content-Type', 'text/plain')])
    return [status.encode()]
