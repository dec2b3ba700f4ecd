// The library's default endpoints are those of this server. It has neither metadata nor introspection, does not create
// PKCE verifiers, and leaves the parameters of the redirect to the app.
import { createHash, randomBytes } from 'node:crypto'

import { AuthorizationCode, ClientCredentials } from 'simple-oauth2'

import { check, refusal, run, settings, step } from './steps.js'

const { issuer, scope, confidential, public: installed } = settings

run(async ({ redirectURI, browse }) => {
  const auth = { tokenHost: issuer }
  const config = { client: { id: confidential.id, secret: confidential.secret }, auth }

  async function authorize(client, decision) {
    const verifier = randomBytes(32).toString('base64url')
    const state = randomBytes(16).toString('base64url')
    const url = client.authorizeURL({
      redirect_uri: redirectURI,
      scope,
      state,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    })
    const { searchParams: query } = await browse(url, decision)
    check(query.get('state') === state, 'another state')
    check(query.get('iss') === issuer, 'another issuer')
    return { verifier, query }
  }

  async function redeem(client) {
    const { verifier, query } = await authorize(client)
    return client.getToken({ code: query.get('code'), redirect_uri: redirectURI, code_verifier: verifier })
  }

  const client = new AuthorizationCode(config)
  await step('denied', async () => {
    const { query } = await authorize(client, 'deny')
    check(query.get('error') === 'access_denied' && query.get('error_description'), `${query}`)
  })
  const tokens = await step('code', async () => {
    const tokens = await redeem(client)
    check(tokens.token.scope === scope && !tokens.expired(), JSON.stringify(tokens))
    return { value: tokens, alive: tokens.token.access_token }
  })
  const fresh = await step('refresh', async () => {
    const stored = client.createToken(JSON.parse(JSON.stringify(tokens)))
    const fresh = await stored.refresh()
    check(fresh.token.refresh_token !== tokens.token.refresh_token, 'nothing new')
    return { value: fresh, alive: fresh.token.access_token }
  })
  await step('revoke', async () => {
    await fresh.revokeAll()
    return { dead: fresh.token.access_token }
  })
  await step('client_credentials', async () => {
    const own = await new ClientCredentials(config).getToken({ scope: ['read', 'write'] })
    return { alive: own.token.access_token }
  })

  // The library requires a secret; an empty one in the body counts as none (RFC 6749, section 3.2).
  const app = new AuthorizationCode({
    client: { id: installed.id, secret: '' },
    auth,
    options: { authorizationMethod: 'body' },
  })
  const first = await step('public_code', async () => {
    const tokens = await redeem(app)
    return { value: tokens, alive: tokens.token.access_token }
  })
  const second = await step('public_refresh', async () => {
    const tokens = await first.refresh()
    return { value: tokens, alive: tokens.token.access_token }
  })
  await refusal(
    'used_refresh',
    () => first.refresh(),
    (e) => e.isBoom && e.output.statusCode === 400 && e.data.payload.error === 'invalid_grant' && 'Boom 400, data.payload.error',
    { dead: second.token.access_token },
  )
})
