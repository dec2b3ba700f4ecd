// Package apikey is the text form of credentials, and API keys and personal access tokens: how they are issued,
// verified, and rotated. What a key may be given, and by whom, it does not know.
package apikey
