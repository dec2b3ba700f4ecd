// A client of an MCP server. It knows only the server's address and a client id, and learns from the refusal where to
// sign in.
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'

import { report, run, settings } from './steps.js'

run(async ({ redirectURI, browse }) => {
  const kept = {}
  const authProvider = {
    redirectUrl: redirectURI,
    clientMetadata: { client_name: 'An assistant', redirect_uris: [redirectURI], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none' },
    clientInformation: () => ({ client_id: settings.public.id, issuer: settings.issuer }),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => (kept.tokens = tokens),
    codeVerifier: () => kept.verifier,
    saveCodeVerifier: (verifier) => (kept.verifier = verifier),
    redirectToAuthorization: (url) => (kept.url = url),
  }
  const client = new Client({ name: 'an assistant', version: '1.0.0' })
  const connect = async () => {
    const transport = new StreamableHTTPClientTransport(new URL(settings.mcp), { authProvider })
    await client.connect(transport)
    return transport
  }

  const first = new StreamableHTTPClientTransport(new URL(settings.mcp), { authProvider })
  try {
    await client.connect(first)
    await report({ step: 'refused', ok: false, detail: 'it was let in without a token' })
  } catch (error) {
    await report({ step: 'refused', ok: error instanceof UnauthorizedError, detail: String(error) })
  }
  await report({ step: 'resource', ok: kept.url.searchParams.get('resource') === settings.mcp, detail: String(kept.url) })

  const back = await browse(kept.url)
  await first.finishAuth(back.searchParams.get('code'))
  await connect()
  await report({ step: 'signed in', alive: kept.tokens.access_token })
  const tools = await client.listTools()
  await report({ step: 'tools', ok: tools.tools.map((tool) => tool.name).join() === 'add', detail: JSON.stringify(tools) })
  const sum = await client.callTool({ name: 'add', arguments: { a: 17, b: 25 } })
  await report({ step: 'called', ok: sum.content[0].text === '42', detail: JSON.stringify(sum) })
  await client.close()

  // An expired access token is refreshed without asking the user.
  const before = kept.tokens
  kept.tokens = { ...before, access_token: 'dw_at_that_is_over' }
  kept.url = undefined
  await connect()
  const again = await client.callTool({ name: 'add', arguments: { a: 1, b: 1 } })
  await report({
    step: 'refreshed', ok: again.content[0].text === '2' && kept.url === undefined && kept.tokens.access_token !== before.access_token, detail: String(kept.url),
    alive: kept.tokens.access_token,
  })
  await client.close()
})
