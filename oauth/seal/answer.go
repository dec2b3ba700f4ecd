package seal

import "encoding/hex"

// AnswerPurpose is the purpose, for Seal and Open, of the stored answer to a request that may be sent twice: one with
// an Idempotency-Key, or a form. digest is that of the request.
func AnswerPurpose(digest []byte) string { return "idempotent answer " + hex.EncodeToString(digest) }
