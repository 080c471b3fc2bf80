"""A component under gunicorn, which finishes what it has accepted by itself."""
from common import answer

REASONS = {200: "200 OK", 502: "502 Bad Gateway"}


def application(environ, start_response):
    status, body = answer(environ["PATH_INFO"])
    start_response(REASONS[status], [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
