import * as oauth from 'oauth4webapi'

import { check, refusal, run, settings, step } from './steps.js'

// settings is {issuer, api, scope, value, uri, marked, fapi, nonces: {issuer, api, client}}, where each client is
// {id, key}, and uri has next, the key after that.
const { issuer, scope } = settings

const challenged = (e) => e instanceof oauth.WWWAuthenticateChallengeError && e.status === 401 && e.constructor.name
const refused = (code) => (e) => e instanceof oauth.ResponseBodyError && e.error === code && 'ResponseBodyError'

// App is a client of an authorization server, and what each of its requests needs.
class App {
  static async at(issuer, { id }, auth) {
    const app = new App()
    const url = new URL(issuer)
    const response = await oauth.discoveryRequest(url, { algorithm: 'oauth2' })
    app.as = await oauth.processDiscoveryResponse(url, response)
    app.client = { client_id: id }
    app.auth = auth
    app.again = 0 // how often a request was sent again, with a nonce
    return app
  }

  // use makes a request with the DPoP key, and if the server asks for a nonce, another one. The handle remembers the
  // nonce in the answer.
  async use(request) {
    try {
      return await request({ DPoP: this.DPoP })
    } catch (error) {
      if (!this.DPoP || !oauth.isDPoPNonceError(error)) {
        throw error
      }
      this.again++
      return request({ DPoP: this.DPoP })
    }
  }

  push(params) {
    return this.use(async (options) => {
      const response = await oauth.pushedAuthorizationRequest(this.as, this.client, this.auth, params, options)
      return oauth.processPushedAuthorizationResponse(this.as, this.client, response)
    })
  }

  redeem(params, redirectURI, verifier) {
    return this.use(async (options) => {
      const response = await oauth.authorizationCodeGrantRequest(
        this.as, this.client, this.auth, params, redirectURI, verifier, options,
      )
      return oauth.processAuthorizationCodeResponse(this.as, this.client, response)
    })
  }

  refresh({ refresh_token }) {
    return this.use(async (options) => {
      const response = await oauth.refreshTokenGrantRequest(this.as, this.client, this.auth, refresh_token, options)
      return oauth.processRefreshTokenResponse(this.as, this.client, response)
    })
  }

  alone() {
    return this.use(async (options) => {
      const response = await oauth.clientCredentialsGrantRequest(
        this.as, this.client, this.auth, { scope: 'read' }, options,
      )
      return oauth.processClientCredentialsResponse(this.as, this.client, response)
    })
  }

  get({ access_token }, url) {
    return this.use((options) =>
      oauth.protectedResourceRequest(access_token, 'GET', new URL(url), undefined, undefined, options),
    )
  }

  async introspect({ access_token }) {
    const response = await oauth.introspectionRequest(this.as, this.client, this.auth, access_token)
    return oauth.processIntrospectionResponse(this.as, this.client, response)
  }

  async revoke({ access_token, refresh_token }) {
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(this.as, this.client, this.auth, refresh_token),
    )
    check(!(await this.introspect({ access_token })).active, 'still active')
    return { dead: access_token }
  }
}

run(async ({ redirectURI, browse }) => {
  // The library's assertions name the issuer as their audience and expire after a minute, which is what Doorward wants.
  async function privateKey({ kid, ...jwk }, options) {
    const key = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
    return oauth.PrivateKeyJwt({ key, kid }, options)
  }

  async function request(app) {
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const params = new URLSearchParams({
      client_id: app.client.client_id,
      redirect_uri: redirectURI,
      response_type: 'code',
      scope,
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    })
    return { params, state, verifier }
  }

  async function signIn(app) {
    const { params, state, verifier } = await request(app)
    const { request_uri } = await app.push(params)
    const query = new URLSearchParams({ client_id: app.client.client_id, request_uri })
    const url = await browse(`${app.as.authorization_endpoint}?${query}`)
    const tokens = await app.redeem(oauth.validateAuthResponse(app.as, app.client, url, state), redirectURI, verifier)
    check(tokens.scope === scope && tokens.token_type === (app.DPoP ? 'dpop' : 'bearer'), JSON.stringify(tokens))
    return tokens
  }

  async function bound(app, tokens) {
    const answer = await app.introspect(tokens)
    check(answer.active && answer.token_type === 'DPoP', JSON.stringify(answer))
    check(answer.cnf.jkt === (await app.DPoP.calculateThumbprint()), JSON.stringify(answer))
  }

  async function own(app, tokens) {
    const answer = await app.get(tokens, `${app.as.issuer}/v1/auth/test`)
    check((await answer.json()).authenticated === true, `/v1/auth/test answers ${answer.status}`)
  }

  async function notes(app, api, tokens) {
    const answer = await app.get(tokens, `${api}/notes`)
    check(answer.status === 200 && (await answer.json()).for.startsWith('user_'), `the API answers ${answer.status}`)
  }

  // Keys by value, and PAR.
  const value = await App.at(issuer, settings.value, await privateKey(settings.value.key))
  await step('par', async () => {
    check(value.as.pushed_authorization_request_endpoint, 'the metadata does not announce PAR')
  })
  const first = await step('value', async () => {
    const tokens = await signIn(value)
    return { value: tokens, alive: tokens.access_token }
  })
  const second = await step('value_refresh', async () => {
    const tokens = await value.refresh(first)
    check(tokens.refresh_token !== first.refresh_token, 'the same refresh token')
    return { value: tokens, alive: tokens.access_token }
  })
  await step('value_introspect', async () => {
    const answer = await value.introspect(second)
    check(answer.active && answer.client_id === settings.value.id && answer.scope === scope, JSON.stringify(answer))
  })
  await step('value_revoke', () => value.revoke(second))

  // What another audience leads to.
  const forEndpoint = {
    [oauth.modifyAssertion]: (header, payload) => {
      payload.aud = value.as.token_endpoint
    },
  }
  const strict = await App.at(issuer, settings.value, await privateKey(settings.value.key, forEndpoint))
  await refusal('audience', () => strict.alone(), challenged)
  const marked = await App.at(issuer, settings.marked, await privateKey(settings.marked.key, forEndpoint))
  await step('marked', async () => ({ alive: (await marked.alone()).access_token }))

  // Keys at a URL, and DPoP.
  const keyPair = await oauth.generateKeyPair('ES256')
  const uri = await App.at(issuer, settings.uri, await privateKey(settings.uri.key))
  uri.DPoP = oauth.DPoP(uri.client, keyPair)
  const held = await signIn(uri)
  await step('uri', () => ({ alive: held.access_token }))
  await step('dpop', () => ({ alive: held.access_token }))
  uri.auth = await privateKey(settings.uri.next)
  await step('rotated', async () => ({ alive: (await uri.alone()).access_token }))
  const fresh = await step('dpop_refresh', async () => {
    const tokens = await uri.refresh(held)
    check(tokens.token_type === 'dpop', tokens.token_type)
    return { value: tokens, alive: tokens.access_token }
  })
  await step('dpop_own', () => own(uri, fresh))
  await step('dpop_api', () => notes(uri, settings.api, fresh))
  await step('dpop_introspect', () => bound(uri, fresh))
  const call = (options) =>
    oauth.protectedResourceRequest(
      fresh.access_token, 'GET', new URL(`${settings.api}/notes`), undefined, undefined, options,
    )
  await refusal('dpop_bearer', () => call(), challenged)
  const other = oauth.DPoP(uri.client, await oauth.generateKeyPair('ES256'))
  await refusal('dpop_other', () => call({ DPoP: other }), challenged)
  await step('dpop_revoke', () => uri.revoke(fresh))

  // All that FAPI 2.0 requires.
  const fapi = await App.at(issuer, settings.fapi, await privateKey(settings.fapi.key))
  fapi.DPoP = oauth.DPoP(fapi.client, keyPair)
  const safe = await step('fapi', async () => {
    const tokens = await signIn(fapi)
    await notes(fapi, settings.api, tokens)
    return { value: tokens, alive: tokens.access_token }
  })
  const again = await step('fapi_refresh', async () => {
    await fapi.refresh(safe)
    const tokens = await fapi.refresh(safe)
    check(tokens.refresh_token === safe.refresh_token, 'another refresh token')
    return { value: tokens, alive: tokens.access_token }
  })
  await step('fapi_introspect', () => bound(fapi, again))
  await step('fapi_plain', async () => {
    const { params } = await request(fapi)
    return { refuses: `${fapi.as.authorization_endpoint}?${params}` }
  })
  const unproven = await App.at(issuer, settings.fapi, fapi.auth)
  await refusal('fapi_bearer', () => unproven.refresh(safe), refused('invalid_dpop_proof'))
  await step('fapi_revoke', () => fapi.revoke(again))

  // A server that demands nonces.
  const { nonces } = settings
  const careful = await App.at(nonces.issuer, nonces.client, await privateKey(nonces.client.key))
  careful.DPoP = oauth.DPoP(careful.client, keyPair)
  await step('nonce_first', async () => {
    const tokens = await careful.alone()
    check(careful.again === 1, `${careful.again} second tries`)
    return { alive: tokens.access_token }
  })
  const tokens = await step('nonce', async () => {
    const tokens = await signIn(careful)
    return { value: tokens, alive: tokens.access_token }
  })
  await step('nonce_refresh', async () => ({ alive: (await careful.refresh(tokens)).access_token }))
  await step('nonce_own', () => own(careful, tokens))
  await step('nonce_api', () => notes(careful, nonces.api, tokens))
})
