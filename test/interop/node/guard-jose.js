// A resource server on node:http that verifies signed access tokens (RFC 9068) by jose.
import { createServer } from 'node:http'

import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

import { scopesOf, serve, settings } from './guard.js'

const { issuer, resource } = settings
const keys = createRemoteJWKSet(new URL(`${issuer}/oauth/jwks`))
const rules = { issuer, audience: resource, typ: 'at+jwt', algorithms: ['ES256'], requiredClaims: ['exp', 'sub', 'client_id'] }

async function decide(request) {
  const [, token] = /^Bearer ([\w.~+/-]+=*)$/i.exec(request.headers.authorization ?? '') ?? []
  if (!token) {
    return [401, 'Bearer realm="files"']
  }
  let claims
  try {
    claims = (await jwtVerify(token, keys, rules)).payload
  } catch (error) {
    if (!(error instanceof errors.JOSEError) || error instanceof errors.JWKSTimeout || error.code === 'ERR_JOSE_GENERIC') {
      console.error(error)
      return [503] // the keys cannot be had
    }
    return [401, 'Bearer realm="files", error="invalid_token"']
  }
  const needed = scopesOf(request.url)
  const has = new Set(claims.scope?.split(' '))
  if (!needed.every((scope) => has.has(scope))) {
    return [403, `Bearer realm="files", error="insufficient_scope", scope="${needed.join(' ')}"`]
  }
  return [200, undefined, claims.sub]
}

serve(
  createServer(async (request, response) => {
    const [status, challenge, subject] = await decide(request)
    if (challenge) {
      response.setHeader('WWW-Authenticate', challenge)
    }
    if (status === 503) {
      response.setHeader('Retry-After', '1')
    }
    if (subject) {
      response.setHeader('X-Subject', subject)
    }
    response.writeHead(status).end(status === 200 ? 'a note\n' : '')
  }),
)
