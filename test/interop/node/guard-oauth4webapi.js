// A resource server on node:http that introspects the token of each request.
import { createServer } from 'node:http'

import * as oauth from 'oauth4webapi'

import { scopesOf, serve, settings } from './guard.js'

const { issuer, resource, api } = settings
const options = { [oauth.allowInsecureRequests]: true } // http on loopback
const found = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...options })
const as = await oauth.processDiscoveryResponse(new URL(issuer), found)
const client = { client_id: api.id }
const auth = oauth.ClientSecretBasic(api.secret)

async function decide(request) {
  const [, token] = /^Bearer ([\w.~+/-]+=*)$/i.exec(request.headers.authorization ?? '') ?? []
  if (!token) {
    return [401, 'Bearer realm="files"']
  }
  let claims
  try {
    const response = await oauth.introspectionRequest(as, client, auth, token, options)
    claims = await oauth.processIntrospectionResponse(as, client, response)
  } catch (error) {
    console.error(error)
    return [503] // nothing is known
  }
  if (!claims.active || claims.aud !== resource) {
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
