// A client of an MCP server, with one of the packages of the official SDK. It knows only the server's address, and
// learns from the refusal where to sign in. It has a client id, the URL of its metadata document, or neither; then it
// registers itself.
import { report, run, settings } from './steps.js'

const second = settings.package === '@modelcontextprotocol/client' // the SDK's version 2
const modules = second ? [''] : ['/client/auth.js', '/client/index.js', '/client/streamableHttp.js']
const { Client, StreamableHTTPClientTransport, UnauthorizedError } = Object.assign(
  {},
  ...(await Promise.all(modules.map((file) => import(settings.package + file)))),
)

run(async ({ redirectURI, browse }) => {
  const kept = { client: settings.public && { client_id: settings.public.id, issuer: settings.issuer } }
  const authProvider = {
    redirectUrl: redirectURI,
    clientMetadata: {
      client_name: settings.name,
      redirect_uris: [redirectURI],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    clientMetadataUrl: settings.document,
    clientInformation: () => kept.client,
    saveClientInformation: (client) => (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => (kept.tokens = tokens),
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => (kept.verifier = verifier),
    redirectToAuthorization: (url) => (kept.url = url),
  }
  const client = new Client({ name: 'an assistant', version: '1.0.0' })
  const transport = () => new StreamableHTTPClientTransport(new URL(settings.mcp), { authProvider })

  const first = transport()
  try {
    await client.connect(first)
    throw new Error('it was let in without a token')
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) {
      throw error
    }
  }
  const back = (await browse(kept.url)).searchParams
  await first.finishAuth(second ? back : back.get('code'))
  await client.connect(transport())
  await report({ step: 'signed in', alive: kept.tokens.access_token })
  const { tools } = await client.listTools()
  await report({ step: 'tools', ok: tools.map((tool) => tool.name).join() === 'add', detail: JSON.stringify(tools) })
  const sum = await client.callTool({ name: 'add', arguments: { a: 17, b: 25 } })
  await report({ step: 'called', ok: sum.content[0].text === '42', detail: JSON.stringify(sum) })
  await client.close()

  // An expired access token is refreshed without asking the user.
  const before = kept.tokens
  kept.tokens = { ...before, access_token: 'dw_at_that_is_over' }
  kept.url = undefined
  await client.connect(transport())
  const again = await client.callTool({ name: 'add', arguments: { a: 1, b: 1 } })
  const { access_token } = kept.tokens
  const refreshed = kept.url === undefined && access_token !== before.access_token && again.content[0].text === '2'
  await report({ step: 'refreshed', ok: refreshed, detail: String(kept.url), alive: access_token })
  await client.close()
})
