// What the clients here have in common: the loopback address that the browser comes back to, and the lines on standard
// output by which the Go test follows them. {"open", "decision"} asks it to take a person to an address and have them
// approve or deny; {"step", "ok", "detail", "alive", "dead"} tells what came out, with tokens that are active or not at
// this moment. The test asks the server about these by itself, and then answers with an empty line.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'

// settings is {issuer, scope, confidential: {id, secret}, public: {id}}.
export const settings = JSON.parse(process.env.DOORWARD_INTEROP)

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
// report tells a line, and waits until the test is done with it.
export const report = async (line) => {
  say({ ok: true, ...line })
  await answers.next()
}

// run gives main the redirect URI and a function that sends a person to an authorization URL and resolves with the URL
// by which they came back.
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

// refusal does something that is to fail. describe names the error as a program tells it from others, or gives
// something false for an error that is not the right one.
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

// forged is the URL with one parameter replaced, as somebody in between could.
export function forged(url, name, value) {
  const copy = new URL(url)
  copy.searchParams.set(name, value)
  return copy
}
