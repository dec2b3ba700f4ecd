// The whole life of a key, with a client whose types openapi-typescript generated from /openapi.json:
//
//   npx openapi-typescript http://localhost:8080/openapi.json -o doorward.d.ts
//
// TypeScript checks it before it runs. It must report an error in each line after @ts-expect-error.
import createClient from 'openapi-fetch'

import type { components, paths } from './doorward.d.ts'
import { check, report, settings, step } from './steps.js'

type Key = components['schemas']['Key']

const { issuer, token, email, invited } = settings
const slug = 'acme-inc'

function client(credential: string, headers: Record<string, string> = {}) {
  return createClient<paths>({ baseUrl: issuer, headers: { Authorization: `Bearer ${credential}`, ...headers } })
}

// ok returns the body of a successful answer.
function ok<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  check(data !== undefined, `${response.url} answers ${response.status} ${JSON.stringify(error)}`)
  return data!
}

// status returns the status of an answer to a key that asks about itself.
const status = async (key: string) => (await client(key).GET('/v1/auth/test')).response.status

// A personal access token acts in the workspace that each request names, so the workspace is part of each call.
const person = client(token)
const params = { header: { 'X-Workspace': slug } }

await step('create a workspace', async () => {
  const made = ok(await person.POST('/v1/workspaces', { body: { name: 'Acme', slug } }))
  check(made.role === 'owner' && made.slug === slug && !made.personal, JSON.stringify(made))
  const all = ok(await person.GET('/v1/workspaces')).data.map((w) => w.slug)
  check(all.length === 2 && all.includes(slug), all.join())
  const renamed = ok(await person.PATCH('/v1/workspaces/{slug}', { params: { path: { slug } }, body: { name: 'Acme Inc.' } }))
  check(renamed.name === 'Acme Inc.', renamed.name)
})

const admin = await step('create a key', async () => {
  const body = { name: 'Admin', scopes: ['admin'] }
  const request = { params: { header: { ...params.header, 'Idempotency-Key': crypto.randomUUID() } }, body }
  const made = ok(await person.POST('/v1/api-keys', request))
  const again = await person.POST('/v1/api-keys', request)
  check(ok(again).key === made.key && again.response.headers.get('Idempotency-Replayed') === 'true', 'made twice')
  return { value: client(made.key!), alive: made.key }
})

const made = await step('create a second key with the first', async () => {
  const expiresAt = new Date(Date.now() + 86_400_000).toISOString()
  const made: Key = ok(await admin.POST('/v1/api-keys', { body: { name: 'Nightly import', scopes: ['read', 'write'], rateLimit: 1000, expiresAt } }))
  check(made.workspace === slug && made.status === 'active' && made.environment === 'live' && made.rateLimit === 1000, JSON.stringify(made))
  // The server stores whole seconds.
  check(made.expiresAt !== null && Math.abs(Date.parse(made.expiresAt) - Date.parse(expiresAt)) < 1000, String(made.expiresAt))
  return { value: made, alive: made.key }
})

await step('list the keys, page by page', async () => {
  for (const environment of ['live', 'test', 'test'] as const) {
    ok(await admin.POST('/v1/api-keys', { body: { name: 'One more', scopes: ['read'], environment } }))
  }
  const seen: Key[] = []
  let cursor: string | null | undefined
  let pages = 0
  do {
    const page = ok(await admin.GET('/v1/api-keys', { params: { query: { limit: 2, ...(cursor && { cursor }) } } }))
    check(page.data.length <= 2, 'a page is too long')
    seen.push(...page.data)
    cursor = page.nextCursor
    pages++
  } while (cursor)
  check(pages === 3 && seen.length === 5 && new Set(seen.map((k) => k.id)).size === 5, `${seen.length} keys on ${pages} pages`)
  check(seen.every((k) => k.key === undefined), 'a list shows keys')
  const tests = ok(await admin.GET('/v1/api-keys', { params: { query: { environment: 'test', search: 'one' } } })).data
  check(tests.length === 2, `${tests.length} test keys`)
})

const path = { id: made.id }

await step('show the second key', async () => {
  const shown = ok(await admin.GET('/v1/api-keys/{id}', { params: { path } }))
  check(shown.name === 'Nightly import' && shown.key === undefined && made.key!.endsWith(shown.masked.slice(-4)), JSON.stringify(shown))
})

await step('call the API with the second key', async () => {
  const test = ok(await client(made.key!).GET('/v1/auth/test'))
  const limit = test.rateLimit
  check(test.authenticated && test.keyId === made.id && limit?.limit === 1000 && limit.remaining < 1000, JSON.stringify(test))
  const me = ok(await client(made.key!).GET('/api/auth/me'))
  check(me.email === email, me.email)
})

await step('rename the second key', async () => {
  const changed = ok(await admin.PATCH('/v1/api-keys/{id}', { params: { path }, body: { name: 'Weekly import', rateLimit: null } }))
  check(changed.name === 'Weekly import' && changed.rateLimit === null, JSON.stringify(changed))
})

await step('remove scopes from the second key', async () => {
  const changed = ok(await admin.PATCH('/v1/api-keys/{id}', { params: { path }, body: { scopes: ['read'] } }))
  check(JSON.stringify(changed.scopes) === '["read"]', JSON.stringify(changed.scopes))
  const { error, response } = await admin.PATCH('/v1/api-keys/{id}', { params: { path }, body: { scopes: ['read', 'write'] } })
  check(response.status === 403 && error?.statusCode === 403 && error.message !== '', 'a key got wider')
})

const successor = await step('rotate the second key, with a grace period', async () => {
  const successor = ok(await admin.POST('/v1/api-keys/{id}/rotate', { params: { path }, body: { grace: '1h' } }))
  check(successor.id !== made.id && successor.name === 'Weekly import', JSON.stringify(successor))
  return { value: successor, alive: successor.key }
})

await step('call the API with the rotated key and with its successor', async () => {
  check((await status(made.key!)) === 200 && (await status(successor.key!)) === 200, 'one of them does not work')
  const before = ok(await admin.GET('/v1/api-keys/{id}', { params: { path } }))
  check(before.status === 'rotating' && before.rotatedInto === successor.id, JSON.stringify(before))
  return { alive: made.key }
})

await step('revoke the rotated key', async () => {
  const { response } = await admin.DELETE('/v1/api-keys/{id}', { params: { path } })
  check(response.status === 204, `${response.status}`)
  check((await status(made.key!)) === 401 && (await status(successor.key!)) === 200, 'not at once, or too many')
  return { dead: made.key, alive: successor.key }
})

await step('revoke its successor', async () => {
  const { response } = await admin.DELETE('/v1/api-keys/{id}', { params: { path: { id: successor.id } } })
  check(response.status === 204 && (await status(successor.key!)) === 401, 'not at once')
  return { dead: successor.key }
})

await step('invite a member', async () => {
  const here = { params: { path: { slug } } }
  const invitation = ok(await admin.POST('/v1/workspaces/{slug}/invitations', { ...here, body: { email: invited, role: 'viewer' } }))
  await report({ open: invitation.url })
  const members = ok(await admin.GET('/v1/workspaces/{slug}/members', here)).data
  const member = members.find((m) => m.email === invited)
  check(members.length === 2 && member?.role === 'viewer', JSON.stringify(members))
  const more = { params: { path: { slug, userId: member!.userId } } }
  const raised = ok(await person.PATCH('/v1/workspaces/{slug}/members/{userId}', { ...more, body: { role: 'member' } }))
  check(raised.role === 'member', raised.role)
  check((await person.DELETE('/v1/workspaces/{slug}/members/{userId}', more)).response.status === 204, 'they stay')
})

await step('use a personal access token', async () => {
  const made = ok(await person.POST('/v1/personal-access-tokens', { body: { name: 'Reader', scopes: ['read'], role: 'viewer' } }))
  const reader = client(made.token!)
  const test = ok(await reader.GET('/v1/auth/test', { headers: params.header }))
  check(test.keyId === made.id && JSON.stringify(test.scopes) === '["read"]', JSON.stringify(test))
  const { error } = await reader.POST('/v1/api-keys', { params, body: { name: 'No', scopes: ['read'] } })
  check(error?.statusCode === 403, 'a reader creates a key')
  check((await person.DELETE('/v1/personal-access-tokens/{id}', { params: { path: { id: made.id } } })).response.ok, 'not revoked')
  check((await status(made.token!)) === 401, 'it works on')
  return { dead: made.token }
})

await step('register an app', async () => {
  const body = { name: 'Example App', redirectUris: ['https://app.example.com/callback'], scopes: ['read'] }
  const made = ok(await admin.POST('/v1/apps', { body }))
  const one = { params: { path: { id: made.id } } }
  const rotated = ok(await admin.POST('/v1/apps/{id}/secret', one))
  check(rotated.secrets.length === 2 && rotated.secret !== made.secret, JSON.stringify(rotated.secrets))
  check((await admin.DELETE('/v1/apps/{id}', one)).response.status === 204, 'not deleted')
})

await step('read the audit log', async () => {
  const query = { target: made.id, action: 'api_key.' }
  const actions = ok(await admin.GET('/v1/audit-events', { params: { query } })).data.map((e) => e.action)
  check(actions.at(-1) === 'api_key.created' && actions[0] === 'api_key.revoked', actions.join())
  ok(await admin.GET('/v1/usage', { params: { query: { by: 'hour', credential: made.id } } }))
})

// The compiler catches a program's mistakes. This function is never called.
export async function mistakes() {
  // @ts-expect-error a path that does not exist
  await admin.GET('/v1/api-key')
  // @ts-expect-error a method that the path does not have
  await admin.PUT('/v1/api-keys', {})
  // @ts-expect-error a missing required body
  await admin.POST('/v1/api-keys', {})
  // @ts-expect-error a missing required member
  await admin.POST('/v1/api-keys', { body: { name: 'Nightly import' } })
  // @ts-expect-error a member of another type
  await admin.POST('/v1/api-keys', { body: { name: 'Nightly import', scopes: 'read' } })
  // @ts-expect-error a value outside the enumeration
  await admin.POST('/v1/api-keys', { body: { name: 'Nightly import', scopes: ['read'], environment: 'staging' } })
  // @ts-expect-error null for a member that cannot be removed
  await admin.POST('/v1/workspaces', { body: { name: null, slug } })
  // @ts-expect-error a path without its id
  await admin.GET('/v1/api-keys/{id}', {})
  // @ts-expect-error a filter that does not exist
  await admin.GET('/v1/api-keys', { params: { query: { colour: 'blue' } } })
  // @ts-expect-error a member that may be missing in the answer
  made.key.length
  // @ts-expect-error a member that may be null
  made.expiresAt.length
  // @ts-expect-error a member that the answer does not have
  made.secret
  // @ts-expect-error a status that does not exist
  made.status === 'deleted'
}
process.stdin.destroy()
