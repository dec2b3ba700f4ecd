"""A resource server on Flask that is guarded by Authlib: it asks the introspection endpoint, or verifies signed access
tokens (RFC 9068). There are two things to read, /files/note.txt, which needs the scope read, and /files/write/note.txt,
which also needs write. One line on standard output, {"address"}, says where; the end of standard input ends it."""

import json
import os
import sys
import threading

import requests
from authlib.integrations.flask_oauth2 import ResourceProtector, current_token
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.jose.errors import JoseError
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc7523 import JWTBearerTokenValidator
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from flask import Flask
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.serving import make_server

# {issuer, resource, api: {id, secret}}
settings = json.loads(os.environ["DOORWARD_INTEROP"])
issuer, resource = settings["issuer"], settings["resource"]


class Introspection(IntrospectTokenValidator):
    def introspect_token(self, token_string):
        api = settings["api"]
        try:
            response = requests.post(
                f"{issuer}/oauth/introspect", data={"token": token_string}, auth=(api["id"], api["secret"]), timeout=5
            )
            response.raise_for_status()
            return response.json()
        except requests.RequestException as error:
            raise ServiceUnavailable(retry_after=1) from error  # nothing is known

    def validate_token(self, token, scopes, request):
        if token["active"] and token["aud"] != resource:
            raise InvalidTokenError(realm=self.realm, extra_attributes=self.extra_attributes)
        super().validate_token(token, scopes, request)


class SignedTokens(JWTBearerTokenValidator):
    """This version of the class asks for a claim grant_type, which RFC 9068 does not have, and not for an audience; it
    takes any algorithm that fits the key. So this says what is to hold."""

    def __init__(self):
        super().__init__(None, realm="files")
        self.jwt = JsonWebToken(["ES256"])
        self.claims_options = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": resource},
            "exp": {"essential": True},
            "client_id": {"essential": True},
        }

    def keys(self):
        try:
            response = requests.get(f"{issuer}/oauth/jwks", timeout=5)
            response.raise_for_status()
            return JsonWebKey.import_key_set(response.json())
        except requests.RequestException as error:
            raise ServiceUnavailable(retry_after=1) from error

    def decode(self, token_string):
        if self.public_key is None:
            self.public_key = self.keys()
        try:
            return self.jwt.decode(token_string, self.public_key, claims_options=self.claims_options, claims_cls=self.token_cls)
        except ValueError:  # a kid that is not among the keys; an API would ask once a minute at most
            self.public_key = self.keys()
            return self.jwt.decode(token_string, self.public_key, claims_options=self.claims_options, claims_cls=self.token_cls)

    def authenticate_token(self, token_string):
        try:
            claims = self.decode(token_string)
            claims.validate()
        except (JoseError, ValueError):
            return None
        return claims if claims.header.get("typ") == "at+jwt" else None


guard = ResourceProtector()
guard.register_token_validator({"introspection": Introspection("files"), "jwks": SignedTokens()}[sys.argv[1]])
app = Flask(__name__)


def note():
    return "a note\n", {"X-Subject": current_token["sub"]}


app.add_url_rule("/files/note.txt", "note", guard(["read"])(note))
app.add_url_rule("/files/write/note.txt", "write", guard(["read write"])(note))  # one entry: all of its words

server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"address": f"http://127.0.0.1:{server.server_port}/files"}), flush=True)
sys.stdin.read()
