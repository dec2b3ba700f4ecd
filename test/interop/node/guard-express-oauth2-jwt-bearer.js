// A resource server on Express that verifies signed access tokens (RFC 9068) by express-oauth2-jwt-bearer.
import express from 'express'
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer'

import { scopesOf, serve, settings } from './guard.js'

const { issuer, resource } = settings
const app = express()
// strict: typ must be at+jwt, and the claims that RFC 9068 requires must be present.
app.use(auth({ issuer, jwksUri: `${issuer}/oauth/jwks`, audience: resource, tokenSigningAlg: 'ES256', strict: true }))
for (const path of ['/files/note.txt', '/files/write/note.txt']) {
  app.get(path, requiredScopes(scopesOf(path)), (request, response) => {
    response.set('X-Subject', request.auth.payload.sub).send('a note\n')
  })
}
serve(app)
