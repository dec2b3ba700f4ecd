// What the clients here have in common: the loopback address that the browser is redirected to, and the lines on
// standard output by which the Go test follows them. {"open", "decision"} asks the test to open a URL as the user and
// to approve or deny; {"step", "ok", "detail", "alive", "dead"} reports a result, with tokens that are active or
// inactive now. The test introspects these tokens, and then answers with an empty line.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

// settings is {issuer, scope, confidential: {id, secret}, public: {id}}.
export const settings = JSON.parse(process.env.DOORWARD_INTEROP)

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
export const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
// report prints a line, and waits until the test has handled it.
export const report = async (line) => {
  say({ ok: true, ...line })
  await answers.next()
}

// run passes main the redirect URI and a function that sends the user to an authorization URL and resolves with the URL
// that the user was redirected to.
export async function run(main) {
  let arrived
  const server = createServer((request, response) => {
    const url = new URL(request.url, redirectURI)
    if (url.pathname !== '/callback') {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end('<!doctype html><title>Done</title><p>Done')
    arrived(url)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const redirectURI = `http://127.0.0.1:${server.address().port}/callback`
  const browse = (url, decision = 'approve') =>
    new Promise((resolve) => {
      arrived = resolve
      say({ open: String(url), decision })
    })
  try {
    await main({ redirectURI, browse })
  } catch (error) {
    console.error(error)
    process.exitCode = 1
  } finally {
    server.close()
    server.closeAllConnections()
    process.stdin.destroy()
  }
}

/**
 * step does something that is to work, and reports what it resolves with.
 * @template [T=void]
 * @param {string} name
 * @param {() => Promise<{ value?: T, alive?: string | undefined, dead?: string | undefined } | void>} work
 * @returns {Promise<T>}
 */
export async function step(name, work) {
  const { value, ...rest } = (await work()) ?? {}
  await report({ step: name, ...rest })
  return value
}

// refusal does something that must fail. describe returns the name of the error as the library's users see it, or a
// falsy value for any other error.
export async function refusal(name, work, describe, rest = {}) {
  let error
  try {
    await work()
  } catch (caught) {
    error = caught
  }
  const detail = error && describe(error)
  if (!detail) {
    throw new Error(`${name}: ${error ? 'another error' : 'no error'}`, { cause: error })
  }
  await report({ step: name, detail, ...rest })
}

/**
 * check throws unless it holds.
 * @param {unknown} holds
 * @param {string} what
 * @returns {asserts holds}
 */
export function check(holds, what) {
  if (!holds) {
    throw new Error(what)
  }
}

// forged returns the URL with one parameter replaced, as an attacker could.
export function forged(url, name, value) {
  const copy = new URL(url)
  copy.searchParams.set(name, value)
  return copy
}
