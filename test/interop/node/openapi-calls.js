// Calls generated only from the document at /openapi.json: with values that match its schemas, values that almost match,
// and without values. For every call and every caller, the document must name the status and the schema of the answer, and
//
//   - no answer is an error of the server;
//   - a request that does not match the document has no effect;
//   - a caller without a valid credential learns only that;
//   - the examples work, each operation's after those that create what it needs.
//
// Prints one JSON object: the number of calls, and of operations called.
import { crc32 } from 'node:zlib'

import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import fc from 'fast-check'

// settings is {issuer, key, token, workspace, users, keep, seed}. The two credentials have every permission in a
// workspace, and the token is an administrator's. The objects in keep must not be changed, or the callers would revoke
// themselves.
const { issuer, key, token, workspace, users, keep, seed } = JSON.parse(process.env.DOORWARD_INTEROP)
const document = await (await fetch(`${issuer}/openapi.json`)).json()
keep.push((await (await fetch(`${issuer}/api/auth/me`, { headers: { Authorization: `Bearer ${token}` } })).json()).id)

const resolve = (value) => (value?.$ref ? resolve(value.$ref.slice(2).split('/').reduce((at, name) => at[name], document)) : value)

// Answers must not have members that the document does not name.
const ajv = new Ajv2020({ strict: false })
addFormats.default(ajv)
const closed = (schema) => (schema?.properties ? { additionalProperties: false, ...schema } : schema)
ajv.addSchema(JSON.parse(JSON.stringify(document), (_, value) => closed(value)), 'openapi')
const compiled = new Map()
const misfit = (schema, value) => {
  if (!compiled.has(schema)) {
    compiled.set(schema, ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/'), (_, v) => closed(v))))
  }
  const validate = compiled.get(schema)
  return validate(value) ? '' : ajv.errorsText(validate.errors)
}

// operations are those of the document, with what is needed to call them. Those that delete or revoke come last, inner
// objects first.
const order = ['POST', 'GET', 'PATCH', 'DELETE']
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, o]) => ({
    ...o,
    name: `${method.toUpperCase()} ${path}`,
    method: method.toUpperCase(),
    path,
    parameters: (o.parameters ?? []).map(resolve),
    body: o.requestBody?.content['application/json'],
    succeeded: 0,
  })),
)
operations.sort((a, b) => order.indexOf(a.method) - order.indexOf(b.method) || (a.method === 'DELETE' ? b.path.length - a.path.length : 0))

const texts = ['', ' ', '\0', 'a\0b', '\ud800', '\u202e', 'é'.repeat(60), 'x'.repeat(5000), '%00', "'; --", '../..', '-1', 'null', '😀']
const text = fc.oneof(
  { weight: 3, arbitrary: fc.string({ maxLength: 40 }) },
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(...texts),
)

// fitting generates values that match a schema. The document's examples are among them; otherwise few calls would
// succeed.
function fitting(schema, example) {
  const made = generated(resolve(schema), example)
  return example === undefined || example === null ? made : fc.oneof({ weight: 3, arbitrary: fc.constant(example) }, { weight: 2, arbitrary: made })
}

function generated(s, example) {
  const alternatives = s.anyOf ?? s.oneOf
  if (alternatives) {
    return fc.oneof(...alternatives.map((one) => fitting(one, misfit(one, example) ? undefined : example)))
  }
  if (s.enum) {
    return fc.constantFrom(...s.enum)
  }
  const types = [s.type].flat()
  return fc.oneof(
    ...types.map((type) => {
      switch (type) {
        case 'null':
          return fc.constant(null)
        case 'boolean':
          return fc.boolean()
        case 'integer':
          return fc.maxSafeInteger().map((n) => Math.max(s.minimum ?? n, Math.min(s.maximum ?? n, n)))
        case 'array':
          return fc.array(fitting(s.items, example?.[0]), { maxLength: 4 })
        case 'object': {
          const members = Object.entries(s.properties ?? {}).map(([name, of]) => [name, fitting(of, example?.[name])])
          const others = () => (s.additionalProperties ? fitting(s.additionalProperties) : fc.jsonValue({ maxDepth: 1 }))
          return s.properties
            ? fc.record(Object.fromEntries(members), { requiredKeys: s.required ?? [] })
            : fc.dictionary(fc.string({ maxLength: 8 }), others(), { maxKeys: 3 })
        }
      }
      if (s.format === 'date-time') {
        return fc.date({ min: new Date('1900-01-01'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }).map((d) => d.toISOString())
      }
      return s.pattern ? fc.stringMatching(new RegExp(s.pattern), { size: 'xsmall' }) : text
    }),
  )
}

// strange is a value of each type; undefined leaves a member out.
const strange = ['', 'x', -1, 1.5, 1e300, true, [], {}, [null], { a: 1 }, undefined]

// spoilt generates bodies, as text, that mostly do not match.
function spoilt(body) {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), text, fc.constantFrom(...strange))
  const fit = fitting(body.schema, body.example)
  const names = Object.keys(resolve(body.schema).properties)
  return fc.oneof(
    fc.tuple(fit, fc.constantFrom(...names), anything).map(([fit, name, value]) => JSON.stringify({ ...fit, [name]: value })),
    fc.tuple(fit, text, anything).map(([fit, name, value]) => JSON.stringify({ ...fit, [name]: value })),
    anything.map((value) => JSON.stringify(value) ?? ''),
    fit.map((fit) => JSON.stringify(fit).slice(0, -1)),
    fc.tuple(fit, fc.constantFrom(...names)).map(([fit, name]) => `{"${name}":null,${JSON.stringify(fit).slice(1)}`),
    fc.constantFrom('', '[', 'null', '{}{}', '\ufeff{}', '{"a":'.repeat(2000), `{"name":"${'x'.repeat(70_000)}"}`),
  )
}

// made stands for a value that an earlier operation has created.
const made = fc.record({ made: fc.nat(1000) })

// argument generates values of a parameter; undefined leaves it out.
function argument(p) {
  const schema = resolve(p.schema)
  const fit = fitting(schema, p.example ?? schema.default)
  switch (p.in) {
    case 'path':
      return fc.oneof({ weight: 6, arbitrary: made }, { weight: 2, arbitrary: fit }, text)
    case 'header':
      // Values that HTTP allows. The workspace is mostly the right one.
      return p.name === 'Idempotency-Key'
        ? fc.option(fc.oneof(fc.uuid(), fc.string({ maxLength: 300 })), { nil: undefined, freq: 2 })
        : fc.oneof({ weight: 8, arbitrary: fc.constant(workspace) }, { weight: 1, arbitrary: fc.constant(undefined) }, fc.string({ maxLength: 12 }))
  }
  return fc.option(fc.oneof({ weight: 3, arbitrary: fit }, text, fc.array(text, { maxLength: 2 })), { nil: undefined, freq: 2 })
}

// call is one request for an operation, before the values created by earlier requests are known.
const call = (o) =>
  fc.record({
    o: fc.constant({ ...o, toString: () => o.name, toJSON: () => o.name }),
    parameters: fc.tuple(...o.parameters.map(argument)),
    extra: fc.oneof({ weight: 20, arbitrary: fc.constant(null) }, text), // an unknown query parameter
    body: o.body
      ? fc.oneof(
          { weight: 3, arbitrary: fitting(o.body.schema, o.body.example).map((value) => JSON.stringify(value)) },
          { weight: 2, arbitrary: spoilt(o.body) },
          fc.constant(''),
        )
      : fc.constant(undefined),
    type: fc.oneof({ weight: 15, arbitrary: fc.constant('application/json') }, fc.constantFrom('application/json; charset=utf-8', 'text/plain', 'x')),
  })

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
function stranger() {
  const body = `dw_at_${'7Qz'.repeat(14)}0`
  let sum = ''
  for (let n = crc32(body), i = 0; i < 6; i++, n = Math.floor(n / 62)) {
    sum = base62[n % 62] + sum
  }
  return body + sum
}

// callers are the callers of an operation. The stranger has a token in the format of an access token; anonymous has
// none.
const callers = { key, token, stranger: stranger(), anonymous: '' }

let calls = 0

// send sends a call, and throws unless the answer matches the document. pool holds the values created so far, by the
// path segment before them.
async function send({ o, parameters, extra, body, type }, caller, pool) {
  calls++
  let { path } = o
  let fits = true // as far as the document says
  const query = new URLSearchParams()
  const headers = {}
  o.parameters.forEach((p, i) => {
    let value = parameters[i]
    if (value?.made !== undefined) {
      const [before, after] = path.split(`{${p.name}}`)
      const changes = after === '' || (o.method === 'POST' && !operations.some((x) => x.method === 'GET' && x.path === o.path))
      const known = (pool.get(before) ?? []).filter((one) => o.method === 'GET' || !changes || !keep.includes(one))
      value = [known[0], known.at(-1), known[value.made % known.length]][value.made % 3] ?? p.example
    }
    if (value === undefined) {
      return
    }
    const sent = String(value)
    const schema = resolve(p.schema)
    switch (p.in) {
      case 'path':
        // An empty value or dots would make another path, and some characters are not allowed in a path, however they
        // are written.
        path = path.replace(`{${p.name}}`, () => encodeURIComponent(sent.toWellFormed().replace(/^\.*$|[\0/\\]/g, 'x')))
        break
      case 'query':
        for (const one of [value].flat()) {
          query.append(p.name, String(one).toWellFormed())
          fits &&= !misfit(schema, schema.type === 'integer' && /^-?\d+$/.test(one) ? Number(one) : String(one))
        }
        fits &&= !Array.isArray(value) || value.length < 2
        break
      case 'header':
        headers[p.name] = sent.trim()
        fits &&= !misfit(schema, sent.trim())
    }
  })
  if (extra !== null) {
    const known = o.parameters.some((p) => p.in === 'query' && p.name === extra)
    query.append(extra.toWellFormed(), 'x')
    fits &&= known
  }
  if (callers[caller]) {
    headers.Authorization = `Bearer ${callers[caller]}`
  }
  if (body) {
    headers['Content-Type'] = type
    let value
    try {
      value = JSON.parse(body)
      fits &&= type.startsWith('application/json') && !misfit(o.body.schema, value)
    } catch {
      fits = false
    }
  } else if (o.requestBody?.required) {
    fits = false
  }
  const target = issuer + path + (query.size ? `?${query}` : '')
  const response = await fetch(target, { method: o.method, headers, body: body || undefined, redirect: 'manual' })
  const answer = await response.text()

  const wrong = (what) => {
    const sent = `${caller}: ${o.method} ${target}\n${JSON.stringify(headers)}\n${body?.slice(0, 500)}`
    throw new Error(`${what}\n${sent}\nanswers ${response.status} ${answer.slice(0, 500)}`)
  }
  const documented = resolve(o.responses[response.status])
  if (response.status >= 500 || !documented) {
    wrong(documented ? 'a fault of the server' : 'a status that the document does not name')
  }
  const content = documented.content?.['application/json']
  if (!content) {
    answer === '' || wrong('a body that the document does not name')
  } else {
    response.headers.get('Content-Type') === 'application/json' || wrong('another type of content')
    const no = misfit(content.schema, JSON.parse(answer))
    no && wrong(`the answer does not fit: ${no}`)
  }
  for (const name of ['WWW-Authenticate', 'Retry-After']) {
    response.headers.has(name) === Boolean(documented.headers?.[name]) || wrong(`${name} is not as in the document`)
  }
  if (caller === 'stranger' || caller === 'anonymous') {
    response.status === 401 || wrong('more than the caller may know')
  }
  if (response.ok) {
    fits || wrong('a request that does not fit did something')
    operations.find((x) => x.name === o.name).succeeded++
    gather(o, path, answer, pool)
  }
}

// gather stores the values in an answer where the paths that use them look for them.
function gather(o, path, answer, pool) {
  const body = answer && JSON.parse(answer)
  for (const next of operations) {
    const name = next.path.startsWith(`${o.path}/{`) && next.path.slice(o.path.length + 2).split('}')[0]
    for (const one of (name && (body.data ?? [body])) || []) {
      const value = one[name] ?? one.id // a session is {session} in the path, and has an id
      if (!pool.get(`${path}/`)?.includes(value)) {
        pool.set(`${path}/`, [...(pool.get(`${path}/`) ?? []), value])
      }
    }
  }
}

// usual is the call with the document's first example.
const usual = (o) => ({
  o,
  parameters: o.parameters.map((p) => (p.in === 'path' ? { made: 0 } : p.in === 'header' && p.name !== 'Idempotency-Key' ? workspace : undefined)),
  extra: null,
  body: o.body && JSON.stringify(o.body.example),
  type: 'application/json',
})

const good = fc.constantFrom('key', 'token')
const perOperation = 12
const strangersPerOperation = 3
const sequences = 30
const options = { seed, endOnFailure: true }
const newPool = () => new Map([['/v1/workspaces/', [workspace]], ['/v1/users/', [...users]]])

// The examples of the document, all of which work.
const examples = newPool()
// Sessions come first, and one of them before all: other operations end the sessions of a user.
const ofSessions = operations.filter((o) => o.path.includes('/sessions'))
ofSessions.sort((a, b) => (a.method === 'GET' ? -1 : b.method === 'GET' ? 1 : b.path.length - a.path.length))
const inOrder = [...ofSessions, ...operations.filter((o) => !ofSessions.includes(o))]
for (const o of inOrder) {
  await send(usual(o), 'token', examples)
}
const failed = operations.filter((o) => !o.succeeded).map((o) => o.name)
if (failed.length) {
  throw new Error(`these did not work: ${failed.join(', ')}`)
}

// Each member of each body with each strange value, and each operation with every variation, for the objects from the
// examples.
const standing = newPool()
for (const o of operations.filter((o) => o.method === 'POST' || o.path.endsWith('/members'))) {
  await send(usual(o), 'token', standing)
}
for (const o of operations.filter((o) => o.body)) {
  for (const name of Object.keys(resolve(o.body.schema).properties)) {
    for (const value of strange) {
      await send({ ...usual(o), body: JSON.stringify({ ...o.body.example, [name]: value }) }, 'token', standing)
    }
  }
}
for (const o of operations) {
  await fc.assert(fc.asyncProperty(call(o), good, (one, caller) => send(one, caller, standing)), { ...options, numRuns: perOperation })
  const others = fc.constantFrom('stranger', 'anonymous')
  await fc.assert(fc.asyncProperty(call(o), others, (one, caller) => send(one, caller, standing)), { ...options, numRuns: strangersPerOperation })
}

// Then sequences of calls about one new object of each kind.
const sequence = fc.constantFrom(...operations.filter((o) => o.method === 'POST' && !o.path.includes('{'))).chain((maker) =>
  fc.record({
    maker: fc.constant(maker),
    body: fitting(maker.body.schema, maker.body.example),
    rest: fc.array(fc.constantFrom(...operations.filter((o) => o.path.startsWith(maker.path))).chain(call), { minLength: 8, maxLength: 8 }),
  }),
)
await fc.assert(
  fc.asyncProperty(sequence, async ({ maker, body, rest }) => {
    const pool = newPool()
    await send({ ...usual(maker), body: JSON.stringify(body) }, 'token', pool)
    for (const one of rest) {
      await send(one, 'token', pool)
    }
  }),
  { ...options, numRuns: sequences },
)

console.log(JSON.stringify({ calls, operations: operations.length, succeeded: operations.reduce((n, o) => n + o.succeeded, 0) }))
