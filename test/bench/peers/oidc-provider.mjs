// An authorization server made with oidc-provider, with its defaults: everything is in memory. Arguments: port, client,
// secret.
import { Provider } from 'oidc-provider';

const [port, client, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: client, client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  }],
  features: {
    clientCredentials: { enabled: true }, devInteractions: { enabled: false }, introspection: { enabled: true },
  },
  ttl: { ClientCredentials: 24 * 3600 },
});
provider.listen(Number(port), '127.0.0.1');
