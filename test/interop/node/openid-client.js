import * as client from 'openid-client'

import { check, forged, refusal, run, settings, step } from './steps.js'

const { issuer, scope, confidential, public: installed } = settings

run(async ({ redirectURI, browse }) => {
  const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] } // http on loopback

  async function authorize(config, decision) {
    const verifier = client.randomPKCECodeVerifier()
    const state = client.randomState()
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: redirectURI,
      scope,
      state,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    const checks = { pkceCodeVerifier: verifier, expectedState: state }
    return { checks, url: await browse(url, decision) }
  }

  const config = await step('metadata', async () => {
    const config = await client.discovery(new URL(issuer), confidential.id, confidential.secret, undefined, options)
    check(config.serverMetadata().supportsPKCE(), 'the metadata does not announce PKCE')
    return { value: config }
  })

  const denied = await authorize(config, 'deny')
  await refusal(
    'denied',
    () => client.authorizationCodeGrant(config, denied.url, denied.checks),
    (e) => e instanceof client.AuthorizationResponseError && e.error === 'access_denied' && 'AuthorizationResponseError',
  )

  const { url, checks } = await authorize(config)
  for (const [name, value] of [['state', 'forged'], ['iss', 'https://other.example.com']]) {
    await refusal(
      name,
      () => client.authorizationCodeGrant(config, forged(url, name, value), checks),
      (e) => e instanceof client.ClientError && e.cause?.message?.includes(`"${name}"`) && `ClientError ${e.code}`,
    )
  }
  const tokens = await step('code', async () => {
    const tokens = await client.authorizationCodeGrant(config, url, checks)
    check(tokens.scope === scope && tokens.expiresIn() > 0, JSON.stringify(tokens))
    return { value: tokens, alive: tokens.access_token }
  })
  await step('introspect', async () => {
    const answer = await client.tokenIntrospection(config, tokens.access_token)
    check(answer.active && answer.client_id === confidential.id && answer.scope === scope, JSON.stringify(answer))
  })
  const fresh = await step('refresh', async () => {
    const fresh = await client.refreshTokenGrant(config, tokens.refresh_token)
    check(fresh.access_token !== tokens.access_token && fresh.refresh_token !== tokens.refresh_token, 'nothing new')
    return { value: fresh, alive: fresh.access_token }
  })
  await step('revoke', async () => {
    await client.tokenRevocation(config, fresh.refresh_token)
    check(!(await client.tokenIntrospection(config, fresh.access_token)).active, 'still active')
    return { dead: fresh.access_token }
  })
  await step('client_credentials', async () => {
    const own = await client.clientCredentialsGrant(config, { scope: 'read' })
    return { alive: own.access_token }
  })

  const app = await client.discovery(new URL(issuer), installed.id, undefined, client.None(), options)
  const first = await step('public_code', async () => {
    const { url, checks } = await authorize(app)
    const tokens = await client.authorizationCodeGrant(app, url, checks)
    return { value: tokens, alive: tokens.access_token }
  })
  const second = await step('public_refresh', async () => {
    const tokens = await client.refreshTokenGrant(app, first.refresh_token)
    return { value: tokens, alive: tokens.access_token }
  })
  await refusal(
    'used_refresh',
    () => client.refreshTokenGrant(app, first.refresh_token),
    (e) => e instanceof client.ResponseBodyError && e.error === 'invalid_grant' && 'ResponseBodyError',
    { dead: second.access_token },
  )
})
