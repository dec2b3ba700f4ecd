// Package apikey issues, rotates and verifies API keys and personal access tokens, with their format, their rules and
// their plans. It does not decide who may manage which key; package management does.
package apikey
