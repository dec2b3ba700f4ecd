"""What the clients here have in common: the loopback address that the browser comes back to, and the lines on standard
output by which the Go test follows them. {"open", "decision"} asks it to take a person to an address and have them
approve or deny; {"step", "ok", "detail", "alive", "dead"} tells what came out, with tokens that are active or not at
this moment. The test asks the server about these by itself, and then answers with an empty line.
"""

import json
import os
import queue
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# {issuer, scope, confidential: {id, secret}, public: {id}}
settings = json.loads(os.environ["DOORWARD_INTEROP"])

_arrived = queue.Queue()


class _Callback(BaseHTTPRequestHandler):
    def do_GET(self):
        found = urlsplit(self.path).path == "/callback"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if found:
            self.wfile.write(b"<!doctype html><title>Done</title><p>Done")
            _arrived.put(f"http://127.0.0.1:{self.server.server_port}{self.path}")

    def log_message(self, format, *args):
        pass


_server = ThreadingHTTPServer(("127.0.0.1", 0), _Callback)
_server.daemon_threads = True
threading.Thread(target=_server.serve_forever, daemon=True).start()

redirect_uri = f"http://127.0.0.1:{_server.server_port}/callback"


def _say(**line):
    print(json.dumps(line), flush=True)


def browse(url, decision="approve"):
    """Sends a person to an authorization URL and returns the URL by which they came back."""
    _say(open=url, decision=decision)
    return _arrived.get()


def done(name, **report):
    """Reports a step that worked."""
    _say(step=name, ok=True, **report)
    sys.stdin.readline()


def refused(name, kind, code, work, **report):
    """Does something that is to fail with an error of a kind, whose attribute error is code unless that is None."""
    try:
        work()
    except kind as error:
        assert code is None or error.error == code, f"{name}: {error!r}"
        done(name, detail=kind.__name__, **report)
        return
    raise AssertionError(f"{name}: no error")


def forged(url, name, value):
    """The URL with one parameter replaced, as an attacker could."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query), **{name: value})
    return urlunsplit(parts._replace(query=urlencode(query)))
