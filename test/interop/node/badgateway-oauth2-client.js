import { generateCodeVerifier, OAuth2Client, OAuth2Error, OAuth2HttpError } from '@badgateway/oauth2-client'

import { check, forged, refusal, run, settings, step } from './steps.js'

const { issuer, scope, confidential, public: installed } = settings

run(async ({ redirectURI, browse }) => {
  async function authorize(client, decision) {
    const state = crypto.randomUUID()
    const codeVerifier = await generateCodeVerifier()
    const url = await client.authorizationCode.getAuthorizeUri({
      redirectUri: redirectURI,
      state,
      codeVerifier,
      scope: scope.split(' '),
    })
    return { url: await browse(url, decision), params: { redirectUri: redirectURI, state, codeVerifier } }
  }
  const redeem = (client, { url, params }) => client.authorizationCode.getTokenFromCodeRedirect(url, params)

  const client = new OAuth2Client({ server: issuer, clientId: confidential.id, clientSecret: confidential.secret })
  await step('metadata', async () => {
    const endpoint = await client.getEndpoint('introspectionEndpoint')
    check(endpoint === `${issuer}/oauth/introspect`, endpoint)
  })

  const denied = await authorize(client, 'deny')
  await refusal(
    'denied',
    () => redeem(client, denied),
    (e) => e instanceof OAuth2Error && e.oauth2Code === 'access_denied' && 'OAuth2Error',
  )
  const answer = await authorize(client)
  await refusal(
    'state',
    () => redeem(client, { ...answer, url: forged(answer.url, 'state', 'forged') }),
    (e) => e.message.includes('"state"') && 'Error',
  )
  const tokens = await step('code', async () => {
    const tokens = await redeem(client, answer)
    check(tokens.scope.join(' ') === scope && tokens.expiresAt > Date.now(), JSON.stringify(tokens))
    return { value: tokens, alive: tokens.accessToken }
  })
  await step('introspect', async () => {
    const answer = await client.introspect(tokens)
    check(answer.active && answer.client_id === confidential.id && answer.scope === scope, JSON.stringify(answer))
  })
  const fresh = await step('refresh', async () => {
    const fresh = await client.refreshToken(tokens)
    check(fresh.refreshToken !== tokens.refreshToken, 'nothing new')
    return { value: fresh, alive: fresh.accessToken }
  })
  await step('revoke', async () => {
    await client.revoke(fresh, 'refresh_token')
    check(!(await client.introspect(fresh)).active, 'still active')
    return { dead: fresh.accessToken }
  })
  await step('client_credentials', async () => {
    const own = await client.clientCredentials({ scope: ['read'] })
    return { alive: own.accessToken }
  })

  const app = new OAuth2Client({ server: issuer, clientId: installed.id })
  const first = await step('public_code', async () => {
    const tokens = await redeem(app, await authorize(app))
    return { value: tokens, alive: tokens.accessToken }
  })
  const second = await step('public_refresh', async () => {
    const tokens = await app.refreshToken(first)
    return { value: tokens, alive: tokens.accessToken }
  })
  await refusal(
    'used_refresh',
    () => app.refreshToken(first),
    (e) => e instanceof OAuth2HttpError && e.oauth2Code === 'invalid_grant' && 'OAuth2HttpError',
    { dead: second.accessToken },
  )
})
