package oauth

// Kinds are all kinds of credentials that an API accepts.
var Kinds = []string{KindAccessToken, KindAPIKey, KindPersonalAccessToken, KindForeignJWT}
