// What the resource servers here have in common: two files on loopback, /files/note.txt, which needs the scope read,
// and /files/write/note.txt, which also needs write. One line on standard output, {"address"}, says where they are; the
// end of standard input stops the server.

// settings is {issuer, resource, api: {id, secret}}.
export const settings = JSON.parse(process.env.DOORWARD_INTEROP)

export const scopesOf = (path) => (path.startsWith('/files/write/') ? ['read', 'write'] : ['read'])

// serve starts a node:http server, or an object with the same listen method, such as an Express app.
export function serve(app) {
  const server = app.listen(0, '127.0.0.1', () => {
    process.stdout.write(JSON.stringify({ address: `http://127.0.0.1:${server.address().port}/files` }) + '\n')
  })
  process.stdin.resume().on('end', () => process.exit())
}
