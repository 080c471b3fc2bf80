"""What gunicorn serves in the demo: the smallest WSGI program."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "6"), ("Connection", "close")])
    return [b"hello\n"]
