"""The library knows endpoints by name only and has no introspection. Proof keys and the request that revokes come from
oauthlib, on which it stands."""

import os

from oauthlib.oauth2 import (
    AccessDeniedError,
    BackendApplicationClient,
    InvalidGrantError,
    MismatchingStateError,
    WebApplicationClient,
)
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from steps import browse, done, forged, redirect_uri, refused, settings

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # http on loopback

issuer, scope, confidential = settings["issuer"], settings["scope"], settings["confidential"]
authorize_url, token_url, revoke_url = (f"{issuer}/oauth/{name}" for name in ("authorize", "token", "revoke"))
auth = HTTPBasicAuth(confidential["id"], confidential["secret"])


def authorize(client_id, decision="approve"):
    client = WebApplicationClient(client_id)
    session = OAuth2Session(client=client, redirect_uri=redirect_uri, scope=scope.split())
    verifier = client.create_code_verifier(64)
    challenge = client.create_code_challenge(verifier, "S256")
    url, _ = session.authorization_url(authorize_url, code_challenge=challenge, code_challenge_method="S256")
    return session, verifier, browse(url, decision)


session, verifier, answer = authorize(confidential["id"], "deny")
refused(
    "denied",
    AccessDeniedError,
    "access_denied",
    lambda: session.fetch_token(token_url, authorization_response=answer, code_verifier=verifier, auth=auth),
)

session, verifier, answer = authorize(confidential["id"])
refused(
    "state",
    MismatchingStateError,
    "mismatching_state",
    lambda: session.fetch_token(
        token_url, authorization_response=forged(answer, "state", "forged"), code_verifier=verifier, auth=auth
    ),
)
token = session.fetch_token(
    token_url, authorization_response=answer, code_verifier=verifier, client_secret=confidential["secret"]
)
assert token["scope"] == scope.split() and token["expires_in"] > 0, token
done("code", alive=token["access_token"])

fresh = session.refresh_token(token_url, auth=auth)
assert fresh["refresh_token"] != token["refresh_token"]
done("refresh", alive=fresh["access_token"])

url, headers, body = WebApplicationClient(confidential["id"]).prepare_token_revocation_request(
    revoke_url, fresh["refresh_token"], token_type_hint="refresh_token"
)
assert session.post(url, data=body, headers=headers, auth=auth, withhold_token=True).ok
done("revoke", dead=fresh["access_token"])

own = OAuth2Session(client=BackendApplicationClient(confidential["id"], scope="read")).fetch_token(token_url, auth=auth)
done("client_credentials", alive=own["access_token"])

app = settings["public"]["id"]
session, verifier, answer = authorize(app)
first = session.fetch_token(token_url, authorization_response=answer, code_verifier=verifier, include_client_id=True)
done("public_code", alive=first["access_token"])
second = session.refresh_token(token_url, client_id=app)
done("public_refresh", alive=second["access_token"])
refused(
    "used_refresh",
    InvalidGrantError,
    "invalid_grant",
    lambda: session.refresh_token(token_url, refresh_token=first["refresh_token"], client_id=app),
    dead=second["access_token"],
)
