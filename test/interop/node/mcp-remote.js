// The program mcp-remote, which brings a server's tools to a host that knows only local servers. The host here is the
// official SDK's client.
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'

import { check, report, say, settings } from './steps.js'

const home = process.env.MCP_REMOTE_CONFIG_DIR
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [join('node', 'node_modules', 'mcp-remote', 'dist', 'proxy.js'), settings.mcp, settings.port, '--allow-http'],
  env: process.env,
  stderr: 'pipe',
})
let told = ''
transport.stderr.on('data', (text) => {
  process.stderr.write(text)
  told += text
  const [all, address] = /Please authorize this client by visiting:\s+(\S+)\s/.exec(told) ?? []
  if (all) {
    told = ''
    say({ open: address })
  }
})
const client = new Client({ name: 'an assistant', version: '1.0.0' })
await client.connect(transport)

const files = (await readdir(home, { recursive: true })).filter((file) => file.endsWith('_tokens.json'))
check(files.length === 1, `it keeps tokens in ${files}`)
const file = join(home, files[0])
const tokens = async () => JSON.parse(await readFile(file, 'utf8'))
const first = await tokens()
await report({ step: 'signed in', alive: first.access_token })
const { tools } = await client.listTools()
await report({ step: 'tools', ok: tools.map((tool) => tool.name).join() === 'add', detail: JSON.stringify(tools) })
const sum = await client.callTool({ name: 'add', arguments: { a: 17, b: 25 } })
await report({ step: 'called', ok: sum.content[0].text === '42', detail: JSON.stringify(sum) })

// An expired access token is refreshed without asking the user.
await writeFile(file, JSON.stringify({ ...first, access_token: 'dw_at_that_is_over' }))
const again = await client.callTool({ name: 'add', arguments: { a: 1, b: 1 } })
const { access_token } = await tokens()
const refreshed = access_token !== first.access_token && again.content[0].text === '2'
await report({ step: 'refreshed', ok: refreshed, detail: JSON.stringify(again), alive: access_token })
await client.close()
process.stdin.destroy()
