// Two validators of the document at /openapi.json: the schema of OpenAPI 3.1 itself, and Redocly's linter with its
// recommended rules. Prints one JSON object with the problems that each finds.
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { Validator } from '@seriousme/openapi-schema-validator'

const address = `${JSON.parse(process.env.DOORWARD_INTEROP).issuer}/openapi.json`
const source = await (await fetch(address)).text()
const { errors = [] } = await new Validator().validate(JSON.parse(source))
// The test's server is on localhost, and the document names it.
const config = await createConfig({ extends: ['recommended'], rules: { 'no-server-example.com': 'off' } })
const problems = await lintFromString({ source, absoluteRef: address, config })
console.log(
  JSON.stringify({
    schema: [errors].flat().map((e) => JSON.stringify(e)),
    lint: problems.map((p) => `${p.severity} ${p.ruleId} ${p.location[0]?.pointer}: ${p.message}`),
  }),
)
