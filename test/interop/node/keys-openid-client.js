import * as client from 'openid-client'

import { check, refusal, run, settings, step } from './steps.js'

// settings is {issuer, api, scope, value, uri, marked, fapi, nonces: {issuer, api, client}}, where each client is
// {id, key}, and uri has next, the key after that.
const { issuer, scope } = settings

const challenged = (e) => e instanceof client.WWWAuthenticateChallengeError && e.status === 401 && e.constructor.name
const refused = (code) => (e) => e instanceof client.ResponseBodyError && e.error === code && 'ResponseBodyError'

run(async ({ redirectURI, browse }) => {
  // The library's assertions name the issuer as their audience and expire after a minute, which is what Doorward wants.
  async function privateKey({ kid, ...jwk }, options) {
    const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
    return client.PrivateKeyJwt({ key, kid }, options)
  }

  async function configure(issuer, { id }, authentication) {
    return client.discovery(new URL(issuer), id, undefined, authentication, { algorithm: 'oauth2' })
  }

  async function signIn(config, options = {}) {
    const pkceCodeVerifier = client.randomPKCECodeVerifier()
    const expectedState = client.randomState()
    const parameters = {
      redirect_uri: redirectURI,
      scope,
      state: expectedState,
      code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
      code_challenge_method: 'S256',
    }
    const url = await browse(await client.buildAuthorizationUrlWithPAR(config, parameters, options))
    const checks = { pkceCodeVerifier, expectedState }
    const tokens = await client.authorizationCodeGrant(config, url, checks, undefined, options)
    check(tokens.scope === scope && tokens.expiresIn() > 0, JSON.stringify(tokens))
    check(tokens.token_type === (options.DPoP ? 'dpop' : 'bearer'), tokens.token_type)
    return tokens
  }

  async function revoke(config, tokens) {
    await client.tokenRevocation(config, tokens.refresh_token)
    check(!(await client.tokenIntrospection(config, tokens.access_token)).active, 'still active')
    return { dead: tokens.access_token }
  }

  async function bound(config, { access_token }, DPoP) {
    const answer = await client.tokenIntrospection(config, access_token)
    check(answer.active && answer.token_type === 'DPoP', JSON.stringify(answer))
    check(answer.cnf.jkt === (await DPoP.calculateThumbprint()), JSON.stringify(answer))
  }

  const get = (config, { access_token }, url, options) =>
    client.fetchProtectedResource(config, access_token, new URL(url), 'GET', undefined, undefined, options)

  async function own(config, issuer, tokens, options) {
    const answer = await get(config, tokens, `${issuer}/v1/auth/test`, options)
    check((await answer.json()).authenticated === true, `/v1/auth/test answers ${answer.status}`)
  }

  async function notes(config, api, tokens, options) {
    const answer = await get(config, tokens, `${api}/notes`, options)
    check(answer.status === 200 && (await answer.json()).for.startsWith('user_'), `the API answers ${answer.status}`)
  }

  // Keys by value, and PAR.
  const value = await configure(issuer, settings.value, await privateKey(settings.value.key))
  await step('par', async () => {
    check(value.serverMetadata().pushed_authorization_request_endpoint, 'the metadata does not announce PAR')
  })
  const first = await step('value', async () => {
    const tokens = await signIn(value)
    return { value: tokens, alive: tokens.access_token }
  })
  const second = await step('value_refresh', async () => {
    const tokens = await client.refreshTokenGrant(value, first.refresh_token)
    check(tokens.refresh_token !== first.refresh_token, 'the same refresh token')
    return { value: tokens, alive: tokens.access_token }
  })
  await step('value_introspect', async () => {
    const answer = await client.tokenIntrospection(value, second.access_token)
    check(answer.active && answer.client_id === settings.value.id && answer.scope === scope, JSON.stringify(answer))
  })
  await step('value_revoke', () => revoke(value, second))

  // What another audience leads to.
  const forEndpoint = {
    [client.modifyAssertion]: (header, payload) => {
      payload.aud = value.serverMetadata().token_endpoint
    },
  }
  const strict = await configure(issuer, settings.value, await privateKey(settings.value.key, forEndpoint))
  await refusal('audience', () => client.clientCredentialsGrant(strict, { scope: 'read' }), challenged)
  const marked = await configure(issuer, settings.marked, await privateKey(settings.marked.key, forEndpoint))
  await step('marked', async () => {
    const tokens = await client.clientCredentialsGrant(marked, { scope: 'read' })
    return { alive: tokens.access_token }
  })

  // Keys at a URL, and DPoP.
  const uri = await configure(issuer, settings.uri, await privateKey(settings.uri.key))
  const keyPair = await client.randomDPoPKeyPair('ES256')
  const DPoP = client.getDPoPHandle(uri, keyPair)
  const held = await signIn(uri, { DPoP })
  await step('uri', () => ({ alive: held.access_token }))
  await step('dpop', () => ({ alive: held.access_token }))
  const next = await configure(issuer, settings.uri, await privateKey(settings.uri.next))
  await step('rotated', async () => {
    const tokens = await client.clientCredentialsGrant(next, { scope: 'read' }, { DPoP })
    return { alive: tokens.access_token }
  })
  const fresh = await step('dpop_refresh', async () => {
    const tokens = await client.refreshTokenGrant(next, held.refresh_token, undefined, { DPoP })
    check(tokens.token_type === 'dpop', tokens.token_type)
    return { value: tokens, alive: tokens.access_token }
  })
  await step('dpop_own', () => own(next, issuer, fresh, { DPoP }))
  await step('dpop_api', () => notes(next, settings.api, fresh, { DPoP }))
  await step('dpop_introspect', () => bound(next, fresh, DPoP))
  await refusal('dpop_bearer', () => get(next, fresh, `${settings.api}/notes`), challenged)
  const other = client.getDPoPHandle(next, await client.randomDPoPKeyPair('ES256'))
  await refusal(
    'dpop_other',
    () => get(next, fresh, `${settings.api}/notes`, { DPoP: other }),
    challenged,
  )
  await step('dpop_revoke', () => revoke(next, fresh))

  // All that FAPI 2.0 requires.
  const fapi = await configure(issuer, settings.fapi, await privateKey(settings.fapi.key))
  const secure = { DPoP: client.getDPoPHandle(fapi, keyPair) }
  const safe = await step('fapi', async () => {
    const tokens = await signIn(fapi, secure)
    await notes(fapi, settings.api, tokens, secure)
    return { value: tokens, alive: tokens.access_token }
  })
  const again = await step('fapi_refresh', async () => {
    for (let i = 0; ; i++) {
      const tokens = await client.refreshTokenGrant(fapi, safe.refresh_token, undefined, secure)
      check(tokens.refresh_token === safe.refresh_token, 'another refresh token')
      if (i === 1) {
        return { value: tokens, alive: tokens.access_token }
      }
    }
  })
  await step('fapi_introspect', () => bound(fapi, again, secure.DPoP))
  await step('fapi_plain', async () => {
    const verifier = client.randomPKCECodeVerifier()
    const code_challenge = await client.calculatePKCECodeChallenge(verifier)
    const parameters = { redirect_uri: redirectURI, scope, code_challenge, code_challenge_method: 'S256' }
    return { refuses: client.buildAuthorizationUrl(fapi, parameters) }
  })
  await refusal(
    'fapi_bearer',
    () => client.refreshTokenGrant(fapi, safe.refresh_token),
    refused('invalid_dpop_proof'),
  )
  await step('fapi_revoke', () => revoke(fapi, again))

  // A server that demands nonces: the library tries a second time by itself.
  const { nonces } = settings
  const careful = await configure(nonces.issuer, nonces.client, await privateKey(nonces.client.key))
  const options = { DPoP: client.getDPoPHandle(careful, keyPair) }
  const answers = []
  careful[client.customFetch] = async (...request) => {
    const response = await fetch(...request)
    answers.push(response.status)
    return response
  }
  await step('nonce_first', async () => {
    const tokens = await client.clientCredentialsGrant(careful, { scope: 'read' }, options)
    check(answers.join() === '400,200', `the token endpoint answers ${answers}`)
    return { alive: tokens.access_token }
  })
  const tokens = await step('nonce', async () => {
    const tokens = await signIn(careful, options)
    return { value: tokens, alive: tokens.access_token }
  })
  await step('nonce_refresh', async () => {
    const fresh = await client.refreshTokenGrant(careful, tokens.refresh_token, undefined, options)
    return { alive: fresh.access_token }
  })
  await step('nonce_own', () => own(careful, nonces.issuer, tokens, options))
  await step('nonce_api', () => notes(careful, nonces.api, tokens, options))
})
