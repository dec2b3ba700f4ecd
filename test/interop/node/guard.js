// What the resource servers here have in common: two things to read on loopback, /files/note.txt, which needs the scope
// read, and /files/write/note.txt, which also needs write. One line on standard output, {"address"}, says where; the end of
// standard input ends it.

// settings is {issuer, resource, api: {id, secret}}.
export const settings = JSON.parse(process.env.DOORWARD_INTEROP)

export const scopesOf = (path) => (path.startsWith('/files/write/') ? ['read', 'write'] : ['read'])

// serve starts a node:http server, or what has its listen, such as an Express app.
export function serve(app) {
  const server = app.listen(0, '127.0.0.1', () => {
    process.stdout.write(JSON.stringify({ address: `http://127.0.0.1:${server.address().port}/files` }) + '\n')
  })
  process.stdin.resume().on('end', () => process.exit())
}
