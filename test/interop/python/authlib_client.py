import os
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc6749 import MismatchingStateException
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

from steps import browse, done, forged, redirect_uri, refused, settings

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"  # http on loopback

issuer, scope, confidential = settings["issuer"], settings["scope"], settings["confidential"]

response = requests.get(get_well_known_url(issuer, external=True), timeout=30)
server = AuthorizationServerMetadata(response.json())
server.validate()
assert server["issuer"] == issuer, server
done("metadata")


def session(client_id, client_secret=None):
    return OAuth2Session(
        client_id,
        client_secret,
        scope=scope,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
        token_endpoint=server["token_endpoint"],
        token_endpoint_auth_method="client_secret_basic" if client_secret else "none",
    )


def authorize(client, decision="approve"):
    verifier = generate_token(48)
    url, state = client.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier)
    return browse(url, decision), state, verifier


def redeem(client, answer, state, verifier):
    return client.fetch_token(authorization_response=answer, state=state, code_verifier=verifier)


client = session(confidential["id"], confidential["secret"])
answer, state, _ = authorize(client, "deny")
query = parse_qs(urlsplit(answer).query)  # the app's business with this session
assert query["error"] == ["access_denied"] and query["state"] == [state] and query["iss"] == [issuer], query
done("denied")

answer, state, verifier = authorize(client)
refused("state", MismatchingStateException, None, lambda: redeem(client, forged(answer, "state", "forged"), state, verifier))
token = redeem(client, answer, state, verifier)
assert token["scope"] == scope and not token.is_expired(), token
done("code", alive=token["access_token"])

found = client.introspect_token(server["introspection_endpoint"], token=token["access_token"]).json()
assert found["active"] and found["client_id"] == confidential["id"] and found["scope"] == scope, found
done("introspect")

fresh = client.refresh_token(server["token_endpoint"], refresh_token=token["refresh_token"])
assert fresh["refresh_token"] != token["refresh_token"]
done("refresh", alive=fresh["access_token"])

assert client.revoke_token(server["revocation_endpoint"], token=fresh["refresh_token"], token_type_hint="refresh_token").ok
found = client.introspect_token(server["introspection_endpoint"], token=fresh["access_token"]).json()
assert not found["active"], found
done("revoke", dead=fresh["access_token"])

own = OAuth2Session(confidential["id"], confidential["secret"], scope="read").fetch_token(
    server["token_endpoint"], grant_type="client_credentials"
)
done("client_credentials", alive=own["access_token"])

app = session(settings["public"]["id"])
first = redeem(app, *authorize(app))
done("public_code", alive=first["access_token"])
second = app.refresh_token(server["token_endpoint"], refresh_token=first["refresh_token"])
done("public_refresh", alive=second["access_token"])
refused(
    "used_refresh",
    OAuthError,
    "invalid_grant",
    lambda: app.refresh_token(server["token_endpoint"], refresh_token=first["refresh_token"]),
    dead=second["access_token"],
)
