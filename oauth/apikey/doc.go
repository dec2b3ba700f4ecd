// Package apikey is API keys and personal access tokens, complete: their form, the rules for creating and changing one,
// how they are issued, rotated and verified, and which plan they have. Who may do that to which key it does not know.
package apikey
