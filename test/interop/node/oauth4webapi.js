import * as oauth from 'oauth4webapi'

import { check, forged, refusal, run, settings, step } from './steps.js'

const { issuer, scope, confidential, public: installed } = settings

run(async ({ redirectURI, browse }) => {
  const options = { [oauth.allowInsecureRequests]: true } // http on loopback

  const as = await step('metadata', async () => {
    const url = new URL(issuer)
    const response = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...options })
    return { value: await oauth.processDiscoveryResponse(url, response) }
  })

  async function authorize(client, decision) {
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const url = new URL(as.authorization_endpoint)
    url.searchParams.set('client_id', client.client_id)
    url.searchParams.set('redirect_uri', redirectURI)
    url.searchParams.set('response_type', 'code')
    url.searchParams.set('scope', scope)
    url.searchParams.set('state', state)
    url.searchParams.set('code_challenge', await oauth.calculatePKCECodeChallenge(verifier))
    url.searchParams.set('code_challenge_method', 'S256')
    return { verifier, state, url: await browse(url, decision) }
  }

  async function redeem(client, auth, { url, state, verifier }) {
    const params = oauth.validateAuthResponse(as, client, url, state)
    const response = await oauth.authorizationCodeGrantRequest(as, client, auth, params, redirectURI, verifier, options)
    return oauth.processAuthorizationCodeResponse(as, client, response)
  }

  async function refresh(client, auth, token) {
    const response = await oauth.refreshTokenGrantRequest(as, client, auth, token, options)
    return oauth.processRefreshTokenResponse(as, client, response)
  }

  async function introspect(client, auth, token) {
    const response = await oauth.introspectionRequest(as, client, auth, token, options)
    return oauth.processIntrospectionResponse(as, client, response)
  }

  const client = { client_id: confidential.id }
  const auth = oauth.ClientSecretBasic(confidential.secret)

  const denied = await authorize(client, 'deny')
  await refusal(
    'denied',
    () => redeem(client, auth, denied),
    (e) => e instanceof oauth.AuthorizationResponseError && e.error === 'access_denied' && 'AuthorizationResponseError',
  )

  const answer = await authorize(client)
  for (const [name, value] of [['state', 'forged'], ['iss', 'https://other.example.com']]) {
    await refusal(
      name,
      () => redeem(client, auth, { ...answer, url: forged(answer.url, name, value) }),
      (e) => e instanceof oauth.OperationProcessingError && e.message.includes(`"${name}"`) && `OperationProcessingError ${e.code}`,
    )
  }
  const tokens = await step('code', async () => {
    const tokens = await redeem(client, auth, answer)
    check(tokens.scope === scope, JSON.stringify(tokens))
    return { value: tokens, alive: tokens.access_token }
  })
  await step('introspect', async () => {
    const answer = await introspect(client, auth, tokens.access_token)
    check(answer.active && answer.client_id === confidential.id && answer.scope === scope, JSON.stringify(answer))
  })
  const fresh = await step('refresh', async () => {
    const fresh = await refresh(client, auth, tokens.refresh_token)
    check(fresh.access_token !== tokens.access_token && fresh.refresh_token !== tokens.refresh_token, 'nothing new')
    return { value: fresh, alive: fresh.access_token }
  })
  await step('revoke', async () => {
    const response = await oauth.revocationRequest(as, client, auth, fresh.refresh_token, options)
    await oauth.processRevocationResponse(response)
    check(!(await introspect(client, auth, fresh.access_token)).active, 'still active')
    return { dead: fresh.access_token }
  })
  await step('client_credentials', async () => {
    const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'read' }, options)
    const own = await oauth.processClientCredentialsResponse(as, client, response)
    return { alive: own.access_token }
  })

  const app = { client_id: installed.id }
  const first = await step('public_code', async () => {
    const tokens = await redeem(app, oauth.None(), await authorize(app))
    return { value: tokens, alive: tokens.access_token }
  })
  const second = await step('public_refresh', async () => {
    const tokens = await refresh(app, oauth.None(), first.refresh_token)
    return { value: tokens, alive: tokens.access_token }
  })
  await refusal(
    'used_refresh',
    () => refresh(app, oauth.None(), first.refresh_token),
    (e) => e instanceof oauth.ResponseBodyError && e.error === 'invalid_grant' && 'ResponseBodyError',
    { dead: second.access_token },
  )
})
