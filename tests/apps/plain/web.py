"""A web side with a page, a note that it writes into its own folder, and one name; it knows nothing of any platform."""

from pathlib import Path

UPLOADS = Path(__file__).parent / 'uploads'


def create_app(name):
    def application(environ, start_response):
        if environ.get('HTTP_HOST') != name:
            status = '400 Bad Request'
        elif environ['PATH_INFO'] == '/note':
            (UPLOADS / 'note.txt').write_text('a note')
            status = '201 Created'
        elif environ['PATH_INFO'] != '/':
            status = '404 Not Found'
        else:
            status = '200 OK'
        start_response(status, [('Content-Type', 'text/plain')])
        return [status.encode()]

    return application
