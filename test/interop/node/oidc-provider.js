// An OpenID Provider as the documentation of oidc-provider shows it, on loopback, with a confidential client that has
// to send its secret by HTTP Basic and a code challenge. Its two pages stand in for those that each operator writes:
// the package's own development pages load a font from elsewhere. Each start makes other keys, and forgets sessions and
// consents. One line on standard output, {"address"}, says that it answers; the end of standard input stops it.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'

import { exportJWK, generateKeyPair } from 'jose'
import { Provider } from 'oidc-provider'

// settings is {port, callback, client: {id, secret}, users: [{sub, email, name}], claims}. claims says where those
// about the user are: "userinfo", as OpenID Connect Core, section 5.4, has it for a code, or "id_token".
const settings = JSON.parse(process.env.DOORWARD_INTEROP)

const issuer = `http://127.0.0.1:${settings.port}`
const { privateKey } = await generateKeyPair('RS256', { extractable: true })

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: settings.client.id,
      client_secret: settings.client.secret,
      token_endpoint_auth_method: 'client_secret_basic',
      redirect_uris: [settings.callback],
    },
  ],
  pkce: { required: () => true },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: settings.claims === 'userinfo',
  findAccount: (ctx, sub) => {
    const user = settings.users.find((user) => user.sub === sub)
    return user && { accountId: sub, claims: () => ({ ...user, email_verified: true }) }
  },
  jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: crypto.randomUUID(), alg: 'RS256', use: 'sig' }] },
  cookies: { keys: [crypto.randomUUID()] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  renderError: (ctx, { error, error_description }) => (ctx.body = `${error}: ${error_description}`),
  ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 600, IdToken: 60, Interaction: 600, Session: 600 },
})

const escaped = (value) => String(value).replace(/[&<>"']/g, (c) => `&#${c.codePointAt(0)};`)

// page shows what the provider asks now: who the user is, or whether the client may learn that.
function page({ prompt, params }) {
  const question =
    prompt.name === 'login'
      ? `<label>Login <input name="login" value="${escaped(params.login_hint ?? '')}"></label>`
      : `<p>${escaped(params.client_id)} asks for ${escaped(prompt.details.missingOIDCScope?.join(' '))}.</p>`
  return `<!doctype html><html lang="en"><title>Acme</title><form method="post" id="${escaped(prompt.name)}">${question}
    <button name="answer" value="go on">Go on</button> <button name="answer" value="cancel">Cancel</button></form>`
}

// result is what the user's answer to a page means.
async function result({ prompt, params, session }, form) {
  if (form.get('answer') === 'cancel') {
    return { error: 'access_denied', error_description: 'The user cancelled' }
  }
  if (prompt.name === 'login') {
    return { login: { accountId: settings.users.find((user) => user.email === form.get('login')).sub } }
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '))
  return { consent: { grantId: await grant.save() } }
}

async function interact(request, response) {
  const asked = await provider.interactionDetails(request, response)
  if (request.method === 'POST') {
    const form = new URLSearchParams(await text(request))
    await provider.interactionFinished(request, response, await result(asked, form))
    return
  }
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page(asked))
}

const rest = provider.callback()
const server = createServer((request, response) => {
  // The package takes a secret in the body too, whatever method the client is registered with.
  if (request.url === '/token' && !request.headers.authorization?.startsWith('Basic ')) {
    response.writeHead(401, { 'Content-Type': 'application/json' }).end('{"error":"invalid_client"}')
    return
  }
  if (!request.url.startsWith('/interaction/')) {
    rest(request, response)
    return
  }
  interact(request, response).catch((error) => {
    console.error(error)
    response.writeHead(500).end()
  })
})
for (const event of ['server_error', 'authorization.error', 'grant.error', 'userinfo.error']) {
  provider.on(event, (ctx, error) => console.error(event, error))
}
server.listen(settings.port, '127.0.0.1', () => process.stdout.write(JSON.stringify({ address: issuer }) + '\n'))
process.stdin.resume().on('end', () => process.exit())
